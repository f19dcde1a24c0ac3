"""``recorder-agent gaps``: every second that should have been recorded and was not."""

from typing import Any

import click
from tabulate import tabulate

from agent.clock import SystemClock
from agent.errors import AgentError
from agent.facade.context import Session
from agent.host.boot import boot_id
from agent.host.time_sync import clock_state
from agent.process.state_directory import Process, StateDirectory
from agent.recorder.account.gap_rows import gap_rows
from agent.status.words import local_moment
from agent.terminal.output import duration, echo, print_json
from agent.timing.known_time import KnownTime

SHORT_SECONDS = 0.1
"""A gap of less is shown in milliseconds: ``0.0 s`` would say nothing."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a list of {cause, from, seconds, recording_id}.")
@click.pass_obj
def gaps(session: Session, as_json: bool) -> None:
    """List what should have been recorded and was not."""
    unreadable: list[str] = []

    def read(state: StateDirectory) -> list[dict[str, Any]]:
        time = KnownTime(SystemClock(), boot_id(), clock_state)
        time.read_boots(state.path)
        return gap_rows(state.path, session.loaded.config, time, unreadable.append)

    rows = session.read_or_ask(read, Process.RECORDER, "gaps", unreadable.append)
    if as_json:
        print_json(rows)
    elif not rows and not unreadable:
        echo("nothing is missing")
    elif rows:
        echo(tabulate(map(_shown, rows), headers=("from", "length", "cause", "recording"), tablefmt="plain"))
    if unreadable:
        raise AgentError(f"not all gaps can be told: {unreadable[0]}", "move it away, and it begins anew")


def _shown(row: dict[str, Any]) -> tuple[str, str, str, str]:
    cause = row["cause"].replace("_", " ")
    return local_moment(row["from"]), _length(row["seconds"]), cause, row["recording_id"] or ""


def _length(seconds: float | None) -> str:
    if seconds is not None and seconds < SHORT_SECONDS:
        return f"{round(seconds * 1000)} ms"
    return "unknown" if seconds is None else duration(round(seconds * 1000))
