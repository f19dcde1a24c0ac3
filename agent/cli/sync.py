"""``recorder-agent sync``: try everything that waits, now."""

import contextlib
import signal
from types import FrameType
from typing import Any

import click

from agent import log
from agent.control.server import ask
from agent.facade.context import Session
from agent.facade.service import deliverer_here
from agent.process.state_directory import Process, StateDirectory
from agent.sync.result import answer_of
from agent.terminal.output import echo, log_nothing, moving_line, percent, print_json, size


@click.command()
@click.option(
    "--json", "as_json", is_flag=True, help="Print what was delivered, parked, and what still waits."
)
@click.option(
    "--any-network",
    is_flag=True,
    help="Over every connection, whatever sync.enabled_connections says.",
)
@click.pass_obj
def sync(session: Session, as_json: bool, any_network: bool) -> int:
    """Deliver what waits, now.

    Backoff is ignored. Exit 0: all is delivered; 1: something was parked; 75: something still waits; 77: the device
    token is missing or refused.
    """
    log.configure("error", session.loaded.config.log.format, queued=True)
    log_nothing()
    newest: dict[str, Any] = {}
    with moving_line(lambda: _line(newest)):
        answer = (
            _ask_deliverer(session.state, newest, any_network=any_network)
            if session.serves(Process.DELIVERER)
            else _sync_here(session, newest, any_network=any_network)
        )
    if as_json:
        print_json(answer)
    else:
        echo(
            f"delivered {len(answer['delivered'])}, waiting {answer['pending']}, "
            f"parked {answer['parked_in_all']}, held {answer['held']}"
        )
    if answer["message"]:
        echo(f"recorder-agent: {answer['message']}", err=True)
    return int(answer["exit_code"])


def _line(newest: dict[str, Any]) -> str:
    if not newest:
        return "looking for what waits"
    sent, total = newest["sent_bytes"], newest["total_bytes"]
    return f"{percent(sent, total)}{size(sent)} of {size(total)}  {newest['id']}"


def _ask_deliverer(state: StateDirectory, newest: dict[str, Any], *, any_network: bool) -> dict[str, Any]:
    message = {"command": "sync", **({"any_network": True} if any_network else {})}
    answer = ask(state.delivery_socket, message, newest.update)
    return dict(answer)


def _sync_here(session: Session, newest: dict[str, Any], *, any_network: bool) -> dict[str, Any]:
    session.enter()
    with session.lock(Process.DELIVERER), contextlib.closing(deliverer_here(session)) as parts:
        parts.reconcile()
        syncer = parts.syncer

        def stop(_number: int, _frame: FrameType | None) -> None:
            syncer.stop()
            parts.api.abort()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)

        def listen(recording_id: str, sent: int, total: int) -> None:
            newest.update(id=recording_id, sent_bytes=sent, total_bytes=total)

        with syncer.listening(listen):
            return answer_of(syncer.drain(everything=True, any_network=any_network), parts.outbox.store)
