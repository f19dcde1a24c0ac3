"""``recorder-agent gaps``: every second that should have been recorded and was not."""

from typing import Any

import click
from tabulate import tabulate

from agent.clock import SystemClock, rfc3339
from agent.errors import AgentError
from agent.facade.context import Session
from agent.gaps.log import Gap
from agent.gaps.tracker import positive
from agent.host.boot import boot_id
from agent.host.time_sync import clock_state
from agent.recorder.absence import missed
from agent.recorder.memory import absences_of
from agent.recording.gapsfile import read_gaps
from agent.terminal.output import duration, echo, print_json
from agent.timing.known_time import KnownTime

SHORT_SECONDS = 0.1
"""A gap of less is shown in milliseconds: ``0.0 s`` would say nothing."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a list of {cause, from, seconds, recording_id}.")
@click.pass_obj
def gaps(session: Session, as_json: bool) -> None:
    """List what should have been recorded and was not: cause, from when, how long."""
    state = session.look()
    time = KnownTime(SystemClock(), boot_id(), clock_state)
    time.read_boots(state.path)
    unreadable: list[str] = []
    found = read_gaps(state.path, unreadable.append)
    rows = [_row(gap, time) for gap in [*found, *_not_judged_yet(session, time)]]
    rows.sort(key=lambda row: str(row["from"]))
    if as_json:
        print_json(rows)
    elif not rows and not unreadable:
        echo("nothing is missing")
    elif rows:
        table = [
            (row["from"], _length(row["seconds"]), row["cause"].replace("_", " "), row["recording_id"] or "")
            for row in rows
        ]
        echo(tabulate(table, headers=("from", "length", "cause", "recording"), tablefmt="plain"))
    if unreadable:
        raise AgentError(f"not all gaps can be told: {unreadable[0]}; move it away, and it begins anew")


def _not_judged_yet(session: Session, time: KnownTime) -> list[Gap]:
    """Return what was missed of the schedule while the clock is not right: by the clock as it is."""
    settings = session.loaded.config.recording
    if settings.mode != "schedule":
        return []
    location = session.loaded.config.location
    gaps = (missed(absence, settings, time, location) for absence in absences_of(session.state.path))
    return [gap for gap in gaps if gap is not None]


def _row(gap: Gap, time: KnownTime) -> dict[str, Any]:
    milliseconds = gap.milliseconds
    if milliseconds is None and gap.end is not None:
        milliseconds = positive(time.elapsed_ms(gap.start, gap.end))
    return {
        "cause": gap.cause.value,
        "from": rfc3339(time.corrected(gap.start).wall_ms),
        "seconds": None if milliseconds is None else milliseconds / 1000,
        "recording_id": gap.recording_id,
    }


def _length(seconds: float | None) -> str:
    if seconds is not None and seconds < SHORT_SECONDS:
        return f"{round(seconds * 1000)} ms"
    return "unknown" if seconds is None else duration(round(seconds * 1000))
