"""What the recorder shows and looks at, every few seconds and at each change, in a thread of its own.

It writes ``recorder-status.json`` (for the deliverer) and ``status.json`` (the document of ``status --json`` and
``written_at``; for everybody), reads ``delivery.json``, ``clock.json`` and ``binding``, and cares for the reserve file.
Whoever reads a ``status.json`` that is older than 30 s reads of a recorder that has died. Both files lie in memory,
are replaced whole, and are removed when the recorder stops.
"""

import contextlib
import threading
from pathlib import Path

import msgspec

from agent.clock import milliseconds, rfc3339
from agent.log import get_logger
from agent.outbox.files import SIDECAR, names
from agent.recorder.mixer_watch import MixerWatch
from agent.recorder.wiring import RecorderWiring
from agent.recording.calendar.lines import Window
from agent.recording.calendar.schedule import next_windows, windows_shown
from agent.status.board import Delivery
from agent.status.other_process import deliverer_seen, delivery_state
from agent.status.process_documents import (
    EVERY_SECONDS,
    NO_DELIVERY,
    RECORDER_FILE,
    Queue,
    Written,
    delivery_fields,
    recorder_document,
)
from agent.status.published_file import PublishedFile
from agent.status.status_document import CredentialStatus, MarkStatus, StatusDocument
from agent.status.status_now import status_now

log = get_logger(__name__)

STATUS_FILE = "status.json"
STATUS_MODE = 0o640
"""Read by the group of the runtime directory."""
POLL_SECONDS = 2.0
MOST_MARKS = 20
"""So many of a recording are shown."""


class SidecarCount:
    """How many recordings lie in a folder; listed again only when it has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changed_ns = 0
        self._count = 0

    def count(self) -> int:
        """Return it; as it was last where the folder cannot be read."""
        with contextlib.suppress(OSError):
            changed_ns = self._folder.stat().st_mtime_ns
            if changed_ns != self._changed_ns:
                self._count = sum(name.endswith(SIDECAR) for name in names(self._folder))
                self._changed_ns = changed_ns
        return self._count


class Publisher:
    """Runs in a thread of its own; nothing that goes wrong with a file ends it."""

    def __init__(self, wiring: RecorderWiring) -> None:
        self._windows: list[Window] = []
        self._windows_at = 0
        self._wiring = wiring
        self._deliverer = deliverer_seen(
            wiring.state, boot_id=wiring.boot_id, monotonic=wiring.clock.monotonic
        )
        self.queue = Queue()
        """What waits, as the deliverer said last."""
        self._mixer = MixerWatch(
            wiring.board,
            lambda: wiring.capture_control(wiring.board.snapshot.microphone_id),
            wiring.clock.monotonic,
        )
        self._finished = SidecarCount(wiring.files.outbox)
        self.fingerprint: str | None = None
        self.manual = False
        """A recording that somebody asked for runs."""
        runtime = wiring.state.runtime
        self._published = [
            PublishedFile(runtime / RECORDER_FILE, STATUS_MODE, EVERY_SECONDS, self._own_document),
            PublishedFile(runtime / STATUS_FILE, STATUS_MODE, EVERY_SECONDS, self._merged_document),
        ]

    @property
    def counts(self) -> dict[str, int]:
        """How many recordings are pending, parked and held."""
        return self.queue.counts

    def run(self, stopping: threading.Event) -> None:
        """Publish until ``stopping`` is set; then the files are removed."""
        try:
            while not stopping.is_set():
                self.turn()
                self._wiring.clock.wait(self._wiring.board.changed, POLL_SECONDS)
        finally:
            for file in self._published:
                file.remove()

    def turn(self) -> None:
        """Look at what is told, and write what is due."""
        wiring = self._wiring
        wiring.read_what_is_told()
        self._poll_deliverer()
        wiring.space.care_for_reserve()
        self._mixer.poll()
        changed = wiring.board.changed.is_set()
        wiring.board.changed.clear()
        now = wiring.clock.monotonic()
        for file in self._published:
            if changed or file.is_due(now):
                file.write(now)

    def _poll_deliverer(self) -> None:
        """Take over what the deliverer says of itself, and whether it lives."""
        deliverer = self._deliverer.poll()
        state, said = delivery_state(deliverer), deliverer.document
        board = self._wiring.board
        queue = said.queue if said is not None else self.queue
        if state in {Delivery.STOPPED, Delivery.HUNG}:
            waiting = max(0, self._finished.count() - queue.parked - queue.held)
            queue = msgspec.structs.replace(queue, pending=max(queue.pending, waiting))
        if queue != self.queue:
            board.changed.set()
        self.queue = queue
        if said is None:
            board.report(**NO_DELIVERY, delivery=state)
            return
        self.fingerprint = said.fingerprint
        board.report(**delivery_fields(said), delivery=state)

    def status(self) -> StatusDocument:
        """Return the document of ``status --json``."""
        board = self._wiring.board
        snapshot = board.snapshot
        return status_now(
            snapshot,
            self.queue,
            self._wiring.config,
            self._wiring.state.path,
            credential=CredentialStatus(snapshot.credential, self.fingerprint),
            level_dbfs=board.level_dbfs(),
            windows=windows_shown(self._next_windows()),
            marks=self._marks(),
        )

    def _marks(self) -> list[MarkStatus]:
        """Return the newest marks of the recording that runs."""
        recording = self._wiring.board.snapshot.recording
        if recording is None:
            return []
        return msgspec.convert(self._wiring.sink.marks.of(recording.id)[-MOST_MARKS:], list[MarkStatus])

    def seconds_to_window(self) -> float | None:
        """Return how long it is until the next window of the schedule begins; 0 within one, None without one."""
        windows = self._next_windows()
        if not windows:
            return None
        return round(max(0.0, windows[0].begin.timestamp() - self._wiring.now().wall_ms / 1000), 1)

    def _next_windows(self) -> list[Window]:
        """Return the next windows of the schedule; worked out anew each minute, and when the clock has jumped."""
        minute = int(self._wiring.now().wall_ms // 60_000)
        if minute != self._windows_at:
            self._windows_at = minute
            config = self._wiring.config
            self._windows = next_windows(config.recording, config.location, minute * 60)
        return self._windows

    def _merged_document(self) -> bytes:
        written_at = rfc3339(milliseconds(self._wiring.clock.wall()))
        return msgspec.json.encode(msgspec.structs.replace(self.status(), written_at=written_at)) + b"\n"

    def _own_document(self) -> bytes:
        wiring = self._wiring
        written = Written.at(wiring.boot_id, wiring.clock.monotonic(), wiring.clock.wall())
        document = recorder_document(
            wiring.board.snapshot,
            written,
            level_dbfs=wiring.board.level_dbfs(),
            manual=self.manual,
            recordings=wiring.memory.last_number,
            missing_ms=wiring.gap_tracker.missing_ms,
        )
        return msgspec.json.encode(document) + b"\n"
