"""What other programs may read: ``status.json`` in the runtime directory, Prometheus' figures, the owner's command.

``status.json`` is the document of ``status --json`` and ``written_at``, by this machine's clock. It is written anew
every 10 s, and within 2 s of a change of what is shown; whoever reads one that is older than 30 s reads of a recorder
that has died. It is removed when the recorder stops. It exists only where there is a runtime directory (``/run``): a
recorder started by hand keeps its socket on the card, which is not to be written every 10 s.

Neither file is made durable; each is replaced whole.
"""

import sqlite3
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from agent.errors import AgentError
from agent.host.battery import Battery, battery
from agent.host.storage import Room, room
from agent.index.store import Store
from agent.log import get_logger
from agent.parts import Parts
from agent.recording.clock import milliseconds, rfc3339
from agent.report import status_of
from agent.status.board import Snapshot
from agent.status.hooks import FaultHook, OwnersCommand
from agent.status.metrics import Figures, exposition
from agent.status.outlet import Outlet
from agent.status.table import condition
from agent.status.words import sentence

log = get_logger(__name__)

STATUS_FILE = "status.json"
STATUS_MODE = 0o640
"""Read by the group of the runtime directory."""
METRICS_MODE = 0o644
"""Read by the node exporter, whoever that is."""
FROM_INDEX = ("pending", "parked", "held", "oldest_pending_at", "drain_seconds")
LOOK_SECONDS = 2.0
STATUS_SECONDS = 10.0
METRICS_SECONDS = 30.0

Json = dict[str, Any]


class Publisher:
    """Runs in a thread of its own; nothing that goes wrong with a file, or with the command, ends it."""

    def __init__(
        self,
        parts: Parts,
        *,
        battery: Callable[[], Battery | None] = battery,
    ) -> None:
        self._parts = parts
        self._battery = battery
        self._started = parts.clock.monotonic()
        self._outlets = [*self._status_outlet(), *self._metrics_outlet()]
        self._shown: object = None
        on_fault = parts.config.hooks.on_fault
        self._command = OwnersCommand(on_fault, parts.clock.monotonic) if on_fault else None
        self._hook = FaultHook(self._command.tell, parts.clock.monotonic) if self._command else None

    def run(self, stopping: threading.Event) -> None:
        """Publish until ``stopping`` is set; then the files are removed, and a command that runs is ended."""
        try:
            while not stopping.is_set():
                self._turn()
                self._parts.clock.wait(stopping, LOOK_SECONDS)
        finally:
            for outlet in self._outlets:
                outlet.remove()
            if self._command is not None:
                self._command.close()

    def _turn(self) -> None:
        snapshot, counts = self._parts.board.snapshot, self._parts.outbox.counts()
        if self._hook is not None and self._command is not None:
            self._hook.look(condition(snapshot, counts), sentence(snapshot, counts))
            self._command.look()
        shown = _shown(snapshot, counts)
        changed, self._shown = shown != self._shown, shown
        now = self._parts.clock.monotonic()
        for outlet in self._outlets:
            if changed or outlet.is_due(now):
                outlet.write(now)

    def _status_outlet(self) -> list[Outlet]:
        state = self._parts.state
        if state.runtime == state.path:
            return []
        return [Outlet(state.runtime / STATUS_FILE, STATUS_MODE, STATUS_SECONDS, self._document)]

    def _metrics_outlet(self) -> list[Outlet]:
        file = self._parts.config.metrics.file
        if not file:
            return []
        try:
            text = exposition()
        except AgentError as error:
            log.warning("there are no metrics", action="metrics_failed", reason=str(error))
            return []
        return [Outlet(Path(file), METRICS_MODE, METRICS_SECONDS, lambda: text(self._figures()))]

    def _document(self) -> bytes:
        written_at = rfc3339(milliseconds(self._parts.clock.wall()))
        return msgspec.json.encode({**self._status(), "written_at": written_at}) + b"\n"

    def _status(self) -> Json:
        """Return the status; while the index fails, what it says is unknown: the recorder is not dead for it."""
        try:
            return self._status_with(self._parts.outbox.store)
        except sqlite3.Error:
            return {**self._status_with(None), **dict.fromkeys(FROM_INDEX)}

    def _status_with(self, store: Store | None) -> Json:
        parts = self._parts
        board = parts.board
        return status_of(
            board.snapshot, board.level_dbfs(), parts.config, parts.state, store, parts.credentials
        )

    def _figures(self) -> Figures:
        parts = self._parts
        ran = parts.clock.monotonic() - self._started
        return Figures(
            self._status_with(parts.outbox.store),
            condition(parts.board.snapshot, parts.outbox.counts()),
            started_unix=parts.clock.wall() - ran,
            pending_bytes=parts.outbox.store.pending_bytes(),
            room=self._room(),
            battery=self._battery(),
            counters={
                "recordings": parts.outbox.last_sequence,
                "missing_seconds": parts.coverage.missing_ms / 1000,
                "delivered_recordings": parts.board.snapshot.delivered,
                "delivered_bytes": parts.board.snapshot.delivered_bytes,
            },
        )

    def _room(self) -> Room | None:
        try:
            return room(self._parts.state.path)
        except OSError:
            return None


class Shown(NamedTuple):
    """What is worth a new file at once; levels, lengths and what grows by itself are not."""

    state: object
    fault: str | None
    recording: str | None
    microphone: tuple[str | None, str]
    online: bool | None
    waiting: str | None
    uploading: bool
    credential: object
    set_aside: tuple[int, int]


def _shown(now: Snapshot, counts: Mapping[str, int]) -> Shown:
    return Shown(
        now.state,
        now.fault,
        now.recording.id if now.recording else None,
        (now.microphone_id, now.microphone_state),
        now.online,
        now.waiting.reason if now.waiting else None,
        now.transfer is not None,
        now.credential,
        (counts["parked"], counts["held"]),
    )
