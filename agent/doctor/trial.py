"""One test recording, end to end: from the microphone into the queue, and from there to the API.

Processes that run record and deliver it, by their own rules: off-peak hours, the battery and the data limit of the
owner hold for the test as for everything else. Without one this process does both, as ``record`` and
``sync`` do, but stops once the test recording is delivered. What waits before it is sent before it, and is not waited
for any longer than the test itself.
"""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from agent.audio.ogg import NotOggOpus, read_summary
from agent.capture.opened import opened
from agent.control.server import ask
from agent.doctor.examination import Finding, critical, healthy, skipped, unknown, warning
from agent.errors import AgentError
from agent.facade.context import Session
from agent.facade.service import deliverer_here, recorder_status
from agent.hints import journal, typed
from agent.index.reading import reading
from agent.outbox.entry import Entry, Status
from agent.outbox.queue_row import row_of
from agent.process.state_directory import Process
from agent.recorder.wiring import RecorderWiring
from agent.recording.asked.mute import Mute
from agent.recording.asked.requests import ManualRequest, no_samples
from agent.recording.segment import PART, SegmentStart
from agent.recording.triggers import OnRequest
from agent.status.board import State
from agent.status.status_document import WaitingStatus
from agent.status.status_now import waiting_status
from agent.status.words import HELD_HINT, HELD_WHY, why
from agent.terminal.output import meter, moving_line
from agent.text import counted

if TYPE_CHECKING:
    from agent.sync.syncer import Syncer

NAME = "Test recording of recorder-agent doctor"
METADATA = {"doctor": True}
SECONDS = 3.0
LONGEST_SECONDS = 60
DELIVERY_SECONDS = 60.0
"""How long the delivery may take before it is said where it stands."""
NUDGE_SECONDS = 5.0
"""After which a deliverer that sends nothing else is asked to try now."""
POLL_SECONDS = 0.25
STEPS = {
    Status.READY: "it waits to be created at the API",
    Status.CREATED: "the API knows it, and its audio waits to be uploaded",
    Status.STORED: "its audio is uploaded, and the API has not confirmed it",
}


class Standing(NamedTuple):
    """Where the test recording stands."""

    entry: Entry | None
    waiting: WaitingStatus | None
    waiting_in_all: int
    """How many recordings wait for delivery, with this one."""


class Made(NamedTuple):
    """The test recording."""

    id: str
    path: Path
    """Of its audio, when it was finished."""
    duration_ms: int
    size_bytes: int
    rms_dbfs: float | None
    peak_dbfs: float | None


class Trial:
    """Makes the test recording, then follows it; ``seconds`` and ``timeout`` are those of the two."""

    def __init__(self, seconds: float = SECONDS, timeout: float = DELIVERY_SECONDS) -> None:
        self._seconds = seconds
        self._timeout = timeout
        self.made: Made | None = None
        """None: nothing was recorded."""

    # the recording

    def record(self, session: Session) -> Finding:
        """Record for a few seconds from the configured input."""
        least = session.loaded.config.recording.min_seconds
        if least > LONGEST_SECONDS:
            return warning(
                f"nothing was recorded: recording.min_seconds drops everything shorter than {least} s",
                "set recording.min_seconds to 0 for the test",
            )
        seconds = max(self._seconds, float(least))
        now = recorder_status(session)
        if now is None:
            return self._record_here(session, seconds)
        if now.state is State.MUTED:
            return _muted()
        if now.recording and _is_manual(session, now.recording.id):
            return warning(
                "nothing was recorded: a recording that a person has started is running, and is left alone",
                "look again when it has ended",
            )
        request = {
            "command": "record",
            "name": NAME,
            "seconds": seconds,
            "metadata": METADATA,
            "from_now": True,
        }
        newest: dict[str, Any] = {}
        try:
            with moving_line(lambda: _progress(newest.get("duration_ms"), newest.get("level_dbfs"), seconds)):
                rows = ask(session.state.socket, request, newest.update)
        except AgentError as error:
            return _refused(error)
        return self._judge(seconds, rows)

    def _record_here(self, session: Session, seconds: float) -> Finding:
        state = session.enter()
        request = ManualRequest(name=NAME, seconds=seconds, metadata=dict(METADATA))
        with session.lock(Process.RECORDER):
            wiring = RecorderWiring(session.loaded.config, state)
            if Mute(state.path, wiring.disk).is_on:
                return _muted()
            with opened(wiring.source()) as source:
                recorder = wiring.recorder(source, OnRequest(), unattended=False)
                recorder.start(request)

                def line() -> str:
                    now = wiring.board.snapshot.recording
                    return _progress(now.duration_ms if now else None, wiring.board.level_dbfs(), seconds)

                with moving_line(line):
                    recorder.run()
            finished = [entry for entry in wiring.sink.finished if entry.id in request.finished_ids]
            found = [row_of(entry, wiring.files) for entry in finished]
        if not found:
            return _refused(request.error or no_samples())
        return self._judge(seconds, found)

    def _judge(self, seconds: float, rows: list[dict[str, Any]]) -> Finding:
        if not rows:
            return critical(
                "the test recording was dropped", f"see {typed('gaps')}, and recording.min_seconds"
            )
        row = rows[-1]
        made = self.made = Made(
            row["id"],
            Path(row["path"]),
            row["duration_ms"],
            row["size_bytes"],
            row.get("rms_dbfs"),
            row.get("peak_dbfs"),
        )
        loud = (
            ""
            if made.rms_dbfs is None
            else f" at {made.rms_dbfs:.0f} dBFS with a peak of {made.peak_dbfs:.0f}"
        )
        sentence = (
            f"{made.duration_ms / 1000:.1f} s were recorded{loud}, {made.size_bytes} bytes, as {made.id}"
        )
        if made.duration_ms < 1000 * seconds / 2:
            return warning(
                f"{sentence}, of {seconds:.0f} s", "the input was interrupted, or is a file that ended"
            )
        return healthy(sentence)

    # the delivery

    def deliver(self, session: Session) -> Finding:
        """Wait until it is delivered, or say at which step it stands, and why."""
        if self.made is None:
            return skipped("there is no test recording to deliver")
        if not session.serves(Process.DELIVERER):
            return self._deliver_here(session, self.made.id)
        recording_id = self.made.id

        def nudge() -> None:
            with contextlib.suppress(AgentError, OSError):  # what stands in the way is seen at the next look
                ask(session.state.delivery_socket, {"command": "sync"})

        return self._follow(lambda: _standing_beside_deliverer(session, recording_id), nudge)

    def _deliver_here(self, session: Session, recording_id: str) -> Finding:
        with session.lock(Process.DELIVERER), contextlib.closing(deliverer_here(session)) as parts:
            parts.reconcile()
            syncer, stopping = parts.syncer, threading.Event()

            def standing() -> Standing:
                waiting = waiting_status(parts.board.snapshot.waiting)
                store = parts.outbox.store
                return Standing(store.get(recording_id), waiting, store.counts()["pending"])

            thread = threading.Thread(target=_run, args=(syncer, stopping), name="sync")
            thread.start()
            try:
                return self._follow(standing, lambda: None)
            finally:
                stopping.set()
                syncer.stop()
                parts.api.abort()
                thread.join()

    def _follow(self, look: Callable[[], Standing | None], nudge: Callable[[], object]) -> Finding:
        """Look until it is delivered, put aside, held back by a rule of the owner, or until it takes too long."""
        began, nudged = time.monotonic(), False
        while True:
            now, passed = look(), time.monotonic() - began
            finding = _end_of(now) if now is not None else None
            if finding is not None:
                return finding
            if passed >= self._timeout:
                return _too_long(now, self._timeout)
            if now is not None and not nudged and passed >= NUDGE_SECONDS and now.waiting_in_all <= 1:
                nudged = True
                threading.Thread(target=nudge, name="nudge", daemon=True).start()
            time.sleep(POLL_SECONDS)


def _progress(duration_ms: int | None, level_dbfs: float | None, seconds: float) -> str:
    """Return the line that is shown while it is recorded."""
    if duration_ms is None:
        return "waiting for sound"
    return f"recording {duration_ms / 1000:.1f} s of {seconds:.0f} s  {meter(level_dbfs)}"


def _run(syncer: "Syncer", stopping: threading.Event) -> None:
    with contextlib.suppress(OSError, sqlite3.Error):  # where it stands is seen all the same
        syncer.run(stopping)


def _standing_beside_deliverer(session: Session, recording_id: str) -> Standing | None:
    """Return where it stands; None while the deliverer is away or the index cannot be read."""
    now = session.ask_status(Process.DELIVERER)
    if now is None:
        return None
    with contextlib.suppress(sqlite3.Error), reading(session.state) as recordings:
        return Standing(recordings.get(recording_id), now.waiting, now.pending)
    return None


def _end_of(now: Standing) -> Finding | None:
    """Return what is to be said when nothing more will happen."""
    entry = now.entry
    if entry is None:
        return critical("the test recording is not in the queue any more", f"see {journal()}")
    if entry.status is Status.UPLOADED:
        how = "and its content is confirmed" if entry.verified else "and the API calls it uploaded"
        return healthy(f"it is delivered as {entry.remote_id}, {how}")
    if entry.status is Status.PARKED:
        return critical(
            f"it is parked: {entry.parked_reason}",
            f"{typed(f'queue show {entry.id}')}, and when the cause is mended {typed(f'queue retry {entry.id}')}",
        )
    if entry.status is Status.HELD:
        return warning(f"it is {HELD_WHY}", HELD_HINT)
    if now.waiting is not None and now.waiting.hint:
        return warning(f"it waits by a rule of yours ({why(now.waiting)})", now.waiting.hint)
    return None


def _too_long(now: Standing | None, timeout: float) -> Finding:
    entry = now.entry if now is not None else None
    if now is None or entry is None:
        return unknown("the index cannot be read, so nobody knows where it stands", "look again later")
    step = STEPS.get(entry.status, "it waits")
    reasons = [entry.last_error] if entry.last_error else []
    if now.waiting is not None:
        reasons.append(why(now.waiting))
    sentence = f"not delivered after {timeout:.0f} s: {step}"
    if reasons:
        sentence += f" ({'; '.join(reasons)})"
    if now.waiting_in_all > 1:
        return warning(
            f"{sentence}, and {counted(now.waiting_in_all - 1, 'other waits', 'others wait')} with it",
            f"older recordings go first; {typed('status --watch')} shows them go",
        )
    return warning(sentence, f"it is tried again by itself; {typed('queue list')} shows it")


def _refused(error: AgentError) -> Finding:
    """Return why nothing was recorded; an error without a remedy is one of the microphone."""
    listen = f"{typed('devices')} shows what there is, {typed('level')} what it gives"
    return critical(error.message, error.hint or listen)


def _muted() -> Finding:
    return warning("nothing was recorded: the recorder is muted", f"{typed('unmute')}, then look again")


def _is_manual(session: Session, recording_id: str) -> bool:
    """Whether the open file is one that a person has asked for; False where its tags cannot be read yet."""
    return any(start.id == recording_id and start.mode == "manual" for start in _open_files(session))


def _open_files(session: Session) -> Iterator[SegmentStart]:
    for path in session.state.recording.glob(f"*{PART}"):
        with contextlib.suppress(NotOggOpus, OSError):
            start = SegmentStart.from_tags(read_summary(path).tags)
            if start is not None:
                yield start
