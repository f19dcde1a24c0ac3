"""What the deliverer shows and looks at, in a thread of its own: ``delivery.json``, figures, the owner's command.

``delivery.json`` lies in memory, is replaced at each change and every 10 s, and is how the recorder, and everybody who
asks it, knows how delivery is. From ``recorder-status.json`` it takes over what the recorder does.
"""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from agent.deliverer.wiring import DelivererWiring
from agent.errors import AgentError
from agent.host.battery import Battery, battery
from agent.host.storage import DiskUsage, disk_usage
from agent.index.reading import queue_of
from agent.log import get_logger
from agent.process.state_directory import Process
from agent.publish.hook import FaultHook, HookRunner
from agent.publish.metrics import Figures, exposition
from agent.status.board import Delivery, NetworkNow, State
from agent.status.condition import condition
from agent.status.other_process import recorder_seen
from agent.status.process_documents import (
    DELIVERY_FILE,
    EVERY_SECONDS,
    NO_RECORDER,
    Queue,
    RecorderDocument,
    Written,
    delivery_document,
    recorder_fields,
)
from agent.status.published_file import PublishedFile
from agent.status.status_document import StatusDocument, WaitingStatus
from agent.status.status_now import status_now
from agent.status.words import sentence
from agent.sync.remote.remote_recorder import RemoteRecorder
from agent.sync.rules.forecast import drain_seconds

log = get_logger(__name__)

DOCUMENT_MODE = 0o640
METRICS_MODE = 0o644
"""Read by the node exporter, whoever that is."""
POLL_SECONDS = 2.0
METRICS_SECONDS = 30.0


class Publisher:
    """Runs in a thread of its own; nothing that goes wrong with a file, or with the command, ends it.

    ``failing`` tells why disk or index fail the deliverer, or None; ``progress`` is called at every turn.
    """

    def __init__(
        self,
        wiring: DelivererWiring,
        *,
        failing: Callable[[], str | None] = lambda: None,
        progress: Callable[[], None] = lambda: None,
        recorder: RemoteRecorder | None = None,
        battery: Callable[[], Battery | None] = battery,
    ) -> None:
        self._wiring = wiring
        self._failing = failing
        self._progress = progress
        self._remote = recorder
        self._battery = battery
        self._started = wiring.clock.monotonic()
        self._recorder = recorder_seen(wiring.state, boot_id=wiring.boot_id, monotonic=wiring.clock.monotonic)
        self._said: RecorderDocument | None = None
        self._queue = Queue()
        self._index_fails: str | None = None
        self._delivery = PublishedFile(
            wiring.state.runtime / DELIVERY_FILE, DOCUMENT_MODE, EVERY_SECONDS, self._document
        )
        self._published = [self._delivery, *self._metrics_file()]
        on_fault = wiring.config.hooks.on_fault
        self._command = HookRunner(on_fault, wiring.clock.monotonic) if on_fault else None
        self._hook = FaultHook(self._command.tell, wiring.clock.monotonic) if self._command else None
        self._interface: str | None = None
        """What led to the network when it was looked at last."""

    @property
    def is_manual(self) -> bool:
        """Whether the recorder says that a manual recording runs."""
        return self._said is not None and self._said.manual

    @property
    def counts(self) -> dict[str, int]:
        """How many recordings are pending, parked and held, as far as is known."""
        return self._queue.counts

    @property
    def failing(self) -> str | None:
        """Why disk or index fail, while they do."""
        return self._failing() or self._index_fails

    def run(self, stopping: threading.Event) -> None:
        """Publish until ``stopping`` is set; then the files are removed, and a command that runs is ended."""
        try:
            while not stopping.is_set():
                self._progress()
                self.turn()
                self._wiring.clock.wait(self._wiring.board.changed, POLL_SECONDS)
        finally:
            for file in self._published:
                file.remove()
            if self._command is not None:
                self._command.close()

    def turn(self) -> None:
        """Look at the recorder and the queue, and write what is due."""
        board, now = self._wiring.board, self._wiring.clock.monotonic()
        self._poll_recorder()
        self._poll_network()
        self._count()
        self._poll_hook()
        changed = board.changed.is_set()
        board.changed.clear()
        for file in self._published:
            if changed or file.is_due(now):
                file.write(now)

    def _poll_network(self) -> None:
        """Show the connection in use, and what crossed it today; one that has moved leads no kept call any more."""
        now, used = self._wiring.networks.uplink, self._wiring.usage.used()
        shown = NetworkNow(now.kind, now.metered, now.roaming, used.metered, used.total)
        self._wiring.board.report(network=shown)
        if now.interface != self._interface:
            if self._interface is not None:
                self._wiring.give_up_old_connections()
            self._interface = now.interface

    def _poll_recorder(self) -> None:
        """Take over what the recorder says of itself, and whether it lives."""
        board, state = self._wiring.board, self._wiring.state
        recorder = self._recorder.poll()
        self._said = recorder.document
        if recorder.is_hung:
            board.report(
                **{**NO_RECORDER, "state": State.FAULT, "fault": "the recorder does not answer"}, gone=False
            )
        elif recorder.document is not None:
            board.report(**recorder_fields(recorder.document), gone=False)
        elif not recorder.is_running:
            gone = not state.was_orderly(Process.RECORDER) and state.has_holder(Process.RECORDER)
            board.report(**NO_RECORDER, gone=gone)
        if self._remote is not None:
            self._remote.poll()

    def _count(self) -> None:
        """Ask the index what waits; while it fails, or is held by others, what was known last stays."""
        store, board = self._wiring.outbox.store, self._wiring.board
        try:
            queue = queue_of(store)
            every = self._wiring.config.recording.segment_seconds if board.snapshot.recording else None
            seconds = drain_seconds(
                queue.pending,
                queue.pending_bytes,
                board.snapshot.seconds_each,
                every,
                self._wiring.config.sync,
                is_metered=bool(self._wiring.networks.uplink.metered),
            )
            self._index_fails = None
        except sqlite3.Error as error:
            self._index_fails = f"the index failed: {error}"
            return
        queue = replace(queue, drain_seconds=None if seconds is None else round(max(0.0, seconds), 1))
        if queue.counts != self._queue.counts:
            board.changed.set()
        self._queue = queue

    def _poll_hook(self) -> None:
        if self._hook is not None and self._command is not None:
            snapshot = self._wiring.board.snapshot
            self._hook.update(condition(snapshot, self._queue.counts), sentence(snapshot, self._queue.counts))
            self._command.poll()

    def _metrics_file(self) -> list[PublishedFile]:
        file = self._wiring.config.metrics.file
        if not file:
            return []
        try:
            text = exposition()
        except AgentError as error:
            log.warning("there are no metrics", action="metrics_failed", reason=str(error))
            return []
        return [PublishedFile(Path(file), METRICS_MODE, METRICS_SECONDS, lambda: text(self._figures()))]

    def status(self) -> StatusDocument:
        """Return the document of ``status --json``, as far as it is known here; the level is the recorder's to say."""
        wiring = self._wiring
        answer = status_now(
            wiring.board.snapshot,
            self._queue,
            wiring.config,
            wiring.state.path,
            credential=wiring.credential_status(),
            level_dbfs=self._said.level_dbfs if self._said is not None else None,
        )
        if failing := self.failing:
            return replace(answer, delivery=Delivery.FAILING, waiting=WaitingStatus(failing))
        return replace(answer, delivery=Delivery.RUNNING)

    def _document(self) -> bytes:
        wiring = self._wiring
        written = Written.at(wiring.boot_id, wiring.clock.monotonic(), wiring.clock.wall())
        document = delivery_document(
            wiring.board.snapshot,
            written,
            self._queue,
            credential=wiring.credential_status(),
            failing=self.failing,
        )
        return msgspec.json.encode(document) + b"\n"

    def _figures(self) -> Figures:
        wiring = self._wiring
        ran = wiring.clock.monotonic() - self._started
        said = self._said
        return Figures(
            self.status(),
            condition(wiring.board.snapshot, self._queue.counts),
            started_unix=wiring.clock.wall() - ran,
            pending_bytes=self._queue.pending_bytes,
            room=self._room(),
            battery=self._battery(),
            counters={
                **(
                    {"recordings": said.recordings, "missing_seconds": said.missing_ms / 1000} if said else {}
                ),
                "delivered_recordings": wiring.board.snapshot.delivered,
                "delivered_bytes": wiring.board.snapshot.delivered_bytes,
            },
        )

    def _room(self) -> DiskUsage | None:
        try:
            return disk_usage(self._wiring.state.path)
        except OSError:
            return None
