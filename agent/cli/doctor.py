"""``recorder-agent doctor``: is everything there that the recorder needs?"""

from pathlib import Path

import click

from agent import log
from agent.doctor.checks import checks
from agent.doctor.copy import listen_copy
from agent.doctor.examination import Health, examine
from agent.doctor.trial import Trial
from agent.facade.context import Session
from agent.terminal.output import echo, log_nothing, print_json

MARKS = {
    "healthy": "ok",
    "warning": "warning",
    "critical": "CRITICAL",
    "unknown": "unknown",
    "skipped": "skipped",
}


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

    Exit 1 when something critical is found. --listen records too.
    """
    log.configure("error", "text")
    log_nothing()
    results = []
    trial = Trial() if record or listen else None
    with listen_copy(listen, trial) as copy:
        for result in examine(session, checks(trial=trial, copy=copy)):
            results.append(result)
            if not as_json:
                echo(f"{MARKS[result.state]:<9} {result.check:<16} {result.message}")
                if result.hint:
                    echo(f"{'':<26} → {result.hint}")
    if as_json:
        print_json([result._asdict() for result in results])
    return int(any(result.state == Health.CRITICAL for result in results))
