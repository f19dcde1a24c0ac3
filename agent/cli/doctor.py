"""``recorder-agent doctor``: is everything there that the recorder needs?"""

from itertools import zip_longest
from pathlib import Path

import click

from agent import log
from agent.doctor.checks import checks
from agent.doctor.copy import listen_copy
from agent.doctor.examination import Health, Result, examine
from agent.doctor.trial import Trial
from agent.doctor.verdict import lines
from agent.facade.context import Session
from agent.terminal.output import echo, log_nothing, passing_line, print_json


@click.command()
@click.option(
    "--record", is_flag=True, help="Also record for 3 s, and follow that to the API (a minute at most)."
)
@click.option(
    "--listen",
    "listen",
    metavar="FILE",
    type=click.Path(dir_okay=False, readable=False, path_type=Path),
    help="Keep what --record records in FILE: FILE.wav to play it anywhere, else Opus as it is sent.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of {check, state, message, hint}.")
@click.pass_obj
def doctor(session: Session, record: bool, listen: Path | None, as_json: bool) -> int:
    """Look at everything the recorder needs.

    What to do first stands first. Exit 1 when something critical is found. --listen records too.
    """
    log.configure("error", "text")
    log_nothing()
    results: list[Result] = []
    trial = Trial() if record or listen else None
    with listen_copy(listen, trial) as copy:
        listed = checks(trial=trial, copy=copy)
        passing_line(f"looking at: {listed[0].name}")
        for result, after in zip_longest(examine(session, listed), listed[1:]):
            results.append(result)
            passing_line(f"looking at: {after.name}" if after is not None else "")
    if as_json:
        print_json([result._asdict() for result in results])
    else:
        for line in lines(results):
            echo(line)
    return int(any(result.state == Health.CRITICAL for result in results))
