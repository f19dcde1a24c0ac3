"""``recorder-agent record``: one recording, by this process or by the recorder that runs."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import click

from agent import log
from agent.audio.source import Source
from agent.audio.wav_file import WavFile
from agent.capture.opened import opened
from agent.control.server import ask
from agent.errors import AgentError
from agent.facade.context import Session
from agent.facade.credentials import credentials_of
from agent.outbox.queue_row import row_of
from agent.process.state_directory import Process, StateDirectory
from agent.process.state_lock import LockHeld
from agent.recorder.account.memory import AskedNumbers, Numbers
from agent.recorder.wiring import RecorderWiring
from agent.recording.asked.mute import Mute
from agent.recording.asked.requests import LONGEST_SECONDS, ManualRequest, muted, no_samples
from agent.recording.recorder import Recorder
from agent.recording.triggers import OnRequest
from agent.terminal.output import duration, echo, meter, moving_line, percent, print_json, size
from agent.text import valid

FILE = "file:"
"""What stands before a path in ``audio.input``; here it may."""
FILE_BLOCK_MS = 1920
"""Samples of a file are read in pieces of this length: a multiple of every Opus frame."""


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.001, max=LONGEST_SECONDS),
    help="Length; without it until Ctrl-C.",
)
@click.option(
    "--input",
    "wav",
    metavar="FILE.wav",
    type=click.Path(path_type=Path),
    help="Record a WAV file as fast as it goes, instead of the microphone.",
)
@click.option(
    "--name",
    type=valid,
    metavar="TEXT",
    help="Name of the recording, instead of the one from recording.name.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the new row, or rows as JSON lines.")
@click.pass_obj
def record(
    session: Session, seconds: float | None, wav: Path | None, name: str | None, as_json: bool
) -> None:
    """Record once and queue it; beside a service, the service records."""
    log.configure("error", session.loaded.config.log.format, queued=True)
    if wav is not None and str(wav).startswith(FILE):
        wav = Path(str(wav).removeprefix(FILE))
    request = ManualRequest(name=name, seconds=seconds)
    if wav is None and session.serves(Process.RECORDER):
        rows = _ask_recorder(session.state, request)
    else:
        rows = _record_here(session, session.enter(), request, wav)
    for row in rows:
        if as_json:
            print_json(row)
        else:
            echo(
                f"recorded {row['id']}: {duration(row['duration_ms'])}, {size(row['size_bytes'])}, {row['path']}"
            )


def _record_here(
    session: Session, state: StateDirectory, request: ManualRequest, wav: Path | None
) -> list[Any]:
    _note_binding(session, state)
    with _as_recorder(session, state, needed=wav is None) as wiring:
        if wav is None and Mute(state.path, wiring.disk).is_on:
            raise muted()
        source = (
            WavFile(wav, block_ms=FILE_BLOCK_MS, start=wiring.clock.monotonic()) if wav else wiring.source()
        )
        with opened(source):
            recorder = wiring.recorder(source, OnRequest(), unattended=False)
            recorder.start(request)
            with _stopped_by_signals(recorder), moving_line(_progress(wiring, request, source)):
                recorder.run()
        entries = [entry for entry in wiring.sink.finished if entry.id in request.finished_ids]
        if not entries:
            raise request.error or no_samples()
        return [row_of(entry, wiring.files) for entry in entries]


def _note_binding(session: Session, state: StateDirectory) -> None:
    """Note whose device this is now, in the place of a deliverer that does not run."""
    lock = state.command_lock(Process.DELIVERER)
    with contextlib.suppress(AgentError), lock:
        credentials_of(session).note_token()


@contextlib.contextmanager
def _as_recorder(session: Session, state: StateDirectory, *, needed: bool) -> Iterator[RecorderWiring]:
    """Give what records: under the recorder's lock, or, for a file beside a recorder, with numbers that it gives."""
    lock = state.command_lock(Process.RECORDER)
    try:
        lock.acquire()
    except LockHeld:
        if needed:
            raise
    else:
        try:
            yield RecorderWiring(session.loaded.config, state)
        finally:
            lock.release()
        return
    with _number_giver(session, state) as numbers:
        yield RecorderWiring(session.loaded.config, state, numbers=numbers)


@contextlib.contextmanager
def _number_giver(session: Session, state: StateDirectory) -> Iterator[Numbers]:
    """Give what asks the recorder for numbers; a command that holds its lock is waited for."""
    if session.serves(Process.RECORDER):
        yield AskedNumbers(lambda: ask(state.socket, {"command": "number"}))
        return
    with session.lock(Process.RECORDER):
        yield RecorderWiring(session.loaded.config, state).memory


@contextlib.contextmanager
def _stopped_by_signals(recorder: Recorder) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and a closed terminal end the recording; what was captured is kept."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        recorder.stop()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _progress(wiring: RecorderWiring, request: ManualRequest, source: Source) -> Any:
    total_ms = None if request.seconds is None else round(request.seconds * 1000)
    samples = getattr(source, "total_samples", None)
    if samples is not None:
        total_ms = samples * 1000 // source.sample_rate

    def text() -> str:
        now = wiring.board.snapshot.recording
        if now is None:
            return "waiting for sound"
        done = percent(now.duration_ms, total_ms)
        return (
            f"{done}{duration(now.duration_ms)}  {size(now.size_bytes)}  {meter(wiring.board.level_dbfs())}"
        )

    return text


def _ask_recorder(state: StateDirectory, request: ManualRequest) -> list[Any]:
    """Let the recorder that runs do it; Ctrl-C ends the recording, not this command."""
    newest: dict[str, Any] = {}
    total_ms = None if request.seconds is None else round(request.seconds * 1000)

    def stop(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=ask, args=(state.socket, {"command": "stop"}), daemon=True).start()

    def text() -> str:
        if not newest.get("started"):
            return "waiting for sound"
        done = percent(newest["duration_ms"], total_ms)
        return f"{done}{duration(newest['duration_ms'])}  {size(newest['size_bytes'])}  {meter(newest['level_dbfs'])}"

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with moving_line(text):
        rows = ask(
            state.socket,
            {"command": "record", "name": request.name, "seconds": request.seconds},
            newest.update,
        )
    return list(rows)
