"""``recorder-agent queue``: what has been recorded, what waits, and what a person can do about it."""

import contextlib
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from agent import log
from agent.control.server import ask
from agent.facade.context import Session
from agent.facade.service import deliverer_here
from agent.host.target_folder import TargetFolder
from agent.index.actions import ACTIONS, export
from agent.index.reading import not_one, reading
from agent.outbox.entry import number_given
from agent.outbox.queue_row import queue_rows, row_of
from agent.process.state_directory import Process, StateDirectory
from agent.status.words import local_moment
from agent.terminal.help import HelpGroup
from agent.terminal.output import duration, echo, print_json, size
from agent.text import valid

ERROR_WIDTH = 50
TIMES = ("started_at", "ended_at", "next_attempt_at")
DONE = {"retry": "trying again", "release": "released", "delete": "deleted"}
"""What is said of each recording, by what was asked for."""


@click.group(cls=HelpGroup)
def queue() -> None:
    """List recordings; retry, release, export, delete them.

    An ID is that of the list, or its beginning; the number of the list serves too.
    """


@queue.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a list of rows, oldest first.")
@click.pass_obj
def list_command(session: Session, as_json: bool) -> None:
    """List all recordings, oldest first."""
    rows = _rows(session)
    if as_json:
        print_json(rows)
        return
    if not rows:
        echo("nothing has been recorded yet")
        return
    table = [
        (
            row["seq"],
            row["id"],
            row["status"],
            local_moment(row["started_at"]),
            duration(row["duration_ms"]),
            size(row["size_bytes"]),
            (row["last_error"] or "")[:ERROR_WIDTH],
        )
        for row in rows
    ]
    echo(
        tabulate(
            table,
            headers=("seq", "id", "status", "started", "length", "size", "last error"),
            tablefmt="plain",
        )
    )


@queue.command()
@click.argument("recording_id", metavar="ID", type=valid)
@click.option("--json", "as_json", is_flag=True, help="Print the row as a JSON object.")
@click.pass_obj
def show(session: Session, recording_id: str, as_json: bool) -> None:
    """Show everything about one recording."""
    row = _one(session, recording_id)
    if as_json:
        print_json(row)
    else:
        shown = row | {name: local_moment(row[name]) for name in TIMES}
        echo(tabulate(shown.items(), tablefmt="plain"))


@queue.command()
@click.argument("ids", metavar="ID...", nargs=-1, type=valid)
@click.option("--all", "everything", is_flag=True, help="All that is parked or backs off.")
@click.pass_obj
def retry(session: Session, ids: tuple[str, ...], everything: bool) -> None:
    """Try parked recordings again now."""
    _request(session, "retry", _chosen(ids, everything))


@queue.command()
@click.argument("ids", metavar="ID...", nargs=-1, type=valid)
@click.option("--all", "everything", is_flag=True, help="All that is held.")
@click.pass_obj
def release(session: Session, ids: tuple[str, ...], everything: bool) -> None:
    """Send held recordings under the present device token."""
    _request(session, "release", _chosen(ids, everything))


@queue.command("export")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.argument("ids", metavar="[ID...]", nargs=-1, type=valid)
@click.pass_obj
def export_command(session: Session, folder: Path, ids: tuple[str, ...]) -> None:
    """Copy recordings and their sidecars into DIR.

    Without IDs all that is not delivered.
    """
    with TargetFolder(folder) as target, reading(session.for_reading()) as recordings:
        copies = export(recordings, target, ids)
    for path in copies:
        echo(path)
    if not copies:
        echo(
            "nothing to export: nothing waits for delivery; name a recording to copy it all the same",
            err=True,
        )


@queue.command()
@click.argument("ids", metavar="ID...", nargs=-1, type=valid, required=True)
@click.pass_obj
def delete(session: Session, ids: tuple[str, ...]) -> None:
    """Delete recordings for good, delivered or not."""
    _request(session, "delete", list(ids))


def _chosen(ids: tuple[str, ...], everything: bool) -> list[str] | None:
    if bool(ids) == everything:
        raise click.UsageError("name the recordings by ID, or say --all")
    return None if everything else list(ids)


def _request(session: Session, action: str, ids: list[str] | None) -> None:
    """Do what is asked, by the deliverer when one runs."""
    log.configure("error", session.loaded.config.log.format)
    state = session.enter()
    if session.serves(Process.DELIVERER):
        done = ask(state.delivery_socket, {"command": action, "ids": ids})
    else:
        with session.lock(Process.DELIVERER), contextlib.closing(deliverer_here(session)) as parts:
            parts.reconcile()
            done = ACTIONS[action](parts.outbox, ids)
    for recording_id in done:
        echo(f"{DONE[action]} {recording_id}")
    if not done:
        echo(f"nothing to {action}")


def _rows(session: Session) -> list[dict[str, Any]]:
    def read(state: StateDirectory) -> list[dict[str, Any]]:
        with reading(state) as recordings:
            return queue_rows(recordings.all(), recordings.files)

    return session.read_or_ask(read, Process.DELIVERER, "queue")


def _one(session: Session, name: str) -> dict[str, Any]:
    """Return the row of one recording; who may not read the index finds it among all rows."""

    def read(state: StateDirectory) -> list[dict[str, Any]]:
        with reading(state) as recordings:
            return [row_of(recordings.find(name), recordings.files)]

    rows = session.read_or_ask(read, Process.DELIVERER, "queue")
    named = [row for row in rows if row["seq"] == number_given(name)]
    named = named or [row for row in rows if str(row["id"]).startswith(name)]
    if len(named) != 1:
        raise not_one(len(named), name)
    return named[0]
