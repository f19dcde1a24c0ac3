"""``recorder-agent repair``: bring files and index together by hand, and explain each finding."""

import contextlib
from pathlib import Path

import click

from agent import log
from agent.control.server import ask
from agent.disk import Disk
from agent.facade.context import Session
from agent.facade.service import deliverer_here
from agent.index.earlier_place import bring_over, left_in
from agent.index.table.database import diagnose
from agent.index.table.schema import SCHEMA
from agent.process.state_directory import Process
from agent.terminal.output import echo, print_json
from agent.text import counted


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--from",
    "earlier",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="First bring over recordings and token from DIR, an earlier state directory.",
)
@click.option(
    "--state-only", is_flag=True, hidden=True, help="Bring over no recordings, and compare nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Print {findings, changed}.")
@click.pass_obj
def repair(session: Session, dry_run: bool, earlier: Path | None, state_only: bool, as_json: bool) -> None:
    """Compare all files with the index, and mend it.

    The deliverer does that at every start; beside a service it is asked to.
    """
    log.configure("error", session.loaded.config.log.format)
    if earlier is not None:
        if state_only:
            bring_over(earlier, session.enter(), Disk())
            return
        _bring_over(session, earlier, dry_run=dry_run, quiet=as_json)
    sentences = (
        _ask_deliverer(session, dry_run=dry_run)
        if _is_served(session)
        else _repair_here(session, dry_run=dry_run)
    )
    if as_json:
        print_json({"findings": sentences, "changed": bool(sentences) and not dry_run})
        return
    for sentence in sentences:
        echo(sentence)
    if not sentences:
        echo("files and index agree")
    elif dry_run:
        echo(f"{len(sentences)} findings; nothing was changed")


def _bring_over(session: Session, earlier: Path, *, dry_run: bool, quiet: bool) -> None:
    state = session.enter()
    if dry_run:
        if not quiet:
            left = left_in(earlier)
            echo(left.sentence() if left is not None else f"{earlier} holds nothing that waits")
        return
    count = bring_over(earlier, state, Disk(), say=(lambda _sentence: None) if quiet else echo)
    if not quiet:
        told = counted(count, "recording was", "recordings were")
        echo(f"{told} brought over from {earlier}")


def _is_served(session: Session) -> bool:
    session.enter()
    return session.serves(Process.DELIVERER)


def _ask_deliverer(session: Session, *, dry_run: bool) -> list[str]:
    answer = ask(session.state.delivery_socket, {"command": "repair", "dry_run": dry_run})
    return [str(sentence) for sentence in answer["sentences"]]


def _repair_here(session: Session, *, dry_run: bool) -> list[str]:
    state = session.state
    with session.lock(Process.DELIVERER), contextlib.closing(deliverer_here(session)) as wiring:
        problem = diagnose(state.database, SCHEMA) if dry_run else None
        return (
            [f"{state.database.name}: {problem}"] if problem else wiring.reconcile(dry_run=dry_run).sentences
        )
