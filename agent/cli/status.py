"""``recorder-agent status``: what the recorder is doing, and what waits."""

import contextlib
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator

import click
from msgspec.structs import replace

from agent.errors import AgentError
from agent.facade import service as facade
from agent.facade.context import Hangs, Session
from agent.status import words
from agent.status.board import CredentialState, Delivery, State
from agent.status.status_document import NetworkStatus, StatusDocument, StorageStatus, VoiceStatus
from agent.status.words import SOUNDING, local_moment, why
from agent.terminal.output import duration, echo, meter, percent, print_json, size
from agent.terminal.screen import screen

WATCH_SECONDS = 0.5
PERCENT_STEP = 10
"""Where the output is no terminal, an upload is told in steps of so many per cent."""


@click.command()
@click.option("--watch", is_flag=True, help="Show it live until Ctrl-C; in a pipe, a line at each change.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON (one line each time with --watch).")
@click.pass_obj
def status(session: Session, watch: bool, as_json: bool) -> None:
    """Show what it is doing, and what waits for what.

    Exit 0 also when no service runs.
    """
    if not watch:
        now = facade.status(session)
        if as_json:
            print_json(now)
        else:
            echo("\n".join(_text(now)))
        return
    with contextlib.suppress(KeyboardInterrupt):
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # the cursor must come back
        if as_json:
            for now in _over_and_over(session):
                print_json(now)
                sys.stdout.flush()
        elif sys.stdout.isatty():
            _show_live(session)
        else:
            _tell_changes(session)


def _show_live(session: Session) -> None:
    with screen() as display:
        for now in _over_and_over(session):
            display.draw(_text(now))


def _tell_changes(session: Session) -> None:
    told = ""
    for now in _over_and_over(session):
        line = _line(now)
        if line != told:
            told = line
            echo(f"{time.strftime('%H:%M:%S')} {line}")
            sys.stdout.flush()


def _over_and_over(session: Session) -> Iterator[StatusDocument]:
    """Yield the status twice a second; a recorder that has gone away is *stopped* until it is back."""
    now = facade.status(session)
    while True:
        yield now
        time.sleep(WATCH_SECONDS)
        try:
            now = facade.status(session)
        except Hangs:
            now = _without_answer(now, State.FAULT, "the recorder does not answer")
        except (AgentError, OSError, sqlite3.Error):  # just going, or the index is not for everybody
            now = _without_answer(now, State.STOPPED)


def _without_answer(now: StatusDocument, state: State, fault: str | None = None) -> StatusDocument:
    """Return what is still known of a recorder that does not answer any more."""
    return replace(now, state=state, recording=None, transfer=None, waiting=None, fault=fault)


def _storage(storage: StorageStatus) -> str:
    words = ["not known" if storage.free_mb is None else f"{storage.free_mb} MB free"]
    words += ["full"] if storage.full else []
    words += ["in memory, gone with the power"] if storage.in_memory else []
    return ", ".join(words)


def _line(now: StatusDocument) -> str:
    """Return what is worth a line of its own when it changes."""
    parts = [_state(now)]
    if now.transfer:
        total = max(1, now.transfer.total_bytes)
        done = 100 * now.transfer.sent_bytes // total // PERCENT_STEP * PERCENT_STEP
        parts.append(f"uploading {done} %")
    if now.pending:
        parts.append(f"{now.pending} waiting" + (f" ({why(now.waiting)})" if now.waiting else ""))
    parts += [f"{count} {name}" for name, count in (("parked", now.parked), ("held", now.held)) if count]
    if now.delivery is not Delivery.RUNNING and now.state is not State.STOPPED:
        parts.append(f"delivery {now.delivery}")
    if now.credential.state in {CredentialState.MISSING, CredentialState.REFUSED}:
        parts.append(f"device token {now.credential.state}")
    return ", ".join(parts)


def _state(now: StatusDocument) -> str:
    state = now.state.replace("_", " ")
    return f"{state}: {now.fault}" if now.fault else state


def _voice(voice: VoiceStatus) -> str:
    problem = f": {voice.problem}" if voice.problem else ""
    return f"{voice.trigger} begins a recording{problem}"


def _network(network: NetworkStatus) -> str:
    """Return the connection in use, and how much of the day's limits is used."""
    words = [network.connection or "not known"]
    words += ["metered"] if network.metered else []
    words += ["roaming"] if network.roaming else []
    used, limits = network.used_today_mb, network.daily_limit_mb
    if limits.metered:
        words.append(f"{used.metered or 0:.1f} of {limits.metered} MB metered today")
    if limits.total:
        words.append(f"{used.total or 0:.1f} of {limits.total} MB total today")
    if network.waits_for is not None:
        words.append(f"waits for {' or '.join(network.waits_for) or 'no network'}")
    return ", ".join(words)


def _text(now: StatusDocument) -> list[str]:
    """Return all of it, a line each."""
    recording, microphone = now.recording, now.microphone
    lines = [("state", _state(now))]
    if recording:
        began = local_moment(recording.started_at)
        lines.append(("recording", f"{duration(recording.duration_ms)} since {began}"))
    lines.append(("microphone", words.microphone(microphone)))
    if now.voice:
        lines.append(("voice", _voice(now.voice)))
    if microphone.level_dbfs is not None and microphone.state in SOUNDING:
        lines.append(("level", meter(microphone.level_dbfs)))
    queue = f"{now.pending} waiting, {now.parked} parked, {now.held} held"
    if now.oldest_pending_at:
        queue += f", oldest from {local_moment(now.oldest_pending_at)}"
    if now.pending and now.drain_seconds is not None:
        queue += f", delivered in about {duration(1000 * round(now.drain_seconds))}"
    lines.append(("queue", queue))
    if now.held_reason:
        lines.append(("held", now.held_reason.removeprefix("held: ")))
    if now.next_windows:
        lines.append(("next windows", words.windows(now.next_windows)))
    lines.append(("network", _network(now.network)))
    if now.waiting:
        lines.append(("waiting", why(now.waiting)))
    if now.transfer:
        sent, total = now.transfer.sent_bytes, now.transfer.total_bytes
        lines.append(("uploading", f"{percent(sent, total)}{size(sent)} of {size(total)}"))
    lines += [
        ("last delivery", local_moment(now.last_delivery_at) if now.last_delivery_at else "none yet"),
        ("delivery", now.delivery),
        ("API", {True: "reached", False: "not reached", None: "not tried yet"}[now.online]),
        ("device token", f"{now.credential.state} {now.credential.fingerprint or ''}".strip()),
        ("storage", _storage(now.storage)),
        ("clock", now.clock.source or "unknown"),
        ("version", now.version),
    ]
    return [f"{name:<14} {value}" for name, value in lines]
