"""The other process as seen from here: whether it runs, and what its status file says."""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from agent.errors import AgentError
from agent.process.state_directory import Process, StateDirectory
from agent.small_file import Decoder, load_or_none
from agent.status.board import Delivery
from agent.status.process_documents import (
    DELIVERY,
    DELIVERY_FILE,
    HUNG_SECONDS,
    RECORDER,
    RECORDER_FILE,
    DeliveryDocument,
    RecorderDocument,
)

LARGEST_DOCUMENT = 65_536

Document = TypeVar("Document", RecorderDocument, DeliveryDocument)


class Seen(NamedTuple, Generic[Document]):
    """The other process at one moment."""

    is_running: bool
    silent_seconds: float
    """For how long a running process has said nothing; one that has just started is given its time."""
    document: Document | None
    """What its status file says; None when it does not run, or when there is none that passes."""

    @property
    def is_hung(self) -> bool:
        """Whether it runs and has said nothing for too long."""
        return self.is_running and self.silent_seconds > HUNG_SECONDS


class OtherProcess(Generic[Document]):
    """Running is who holds its lock; hung is who has not written its status file for 30 s."""

    def __init__(
        self,
        state: StateDirectory,
        process: Process,
        file: str,
        decoder: Decoder[Document],
        *,
        boot_id: str,
        monotonic: Callable[[], float],
    ) -> None:
        self._state = state
        self._process = process
        self._file = file
        self._decoder: Decoder[Document] = decoder
        self._boot_id = boot_id
        self._monotonic = monotonic
        self._running_since: float | None = None

    def is_running(self) -> bool:
        """Whether it holds its lock; one that cannot be told is taken for stopped."""
        try:
            running = self._state.is_locked(self._process) and self._state.is_service(self._process)
        except AgentError:
            running = False
        if not running:
            self._running_since = None
        elif self._running_since is None:
            self._running_since = self._monotonic()
        return running

    def poll(self) -> Seen[Document]:
        """Look whether it runs, and read its status file once."""
        if not self.is_running() or self._running_since is None:
            return Seen(False, 0.0, None)
        path = self._state.runtime_of(self._process) / self._file
        said = load_or_none(path, self._decoder, LARGEST_DOCUMENT)
        now = self._monotonic()
        age = float("inf") if said is None else said.written.age_seconds(self._boot_id, now)
        return Seen(True, min(max(0.0, age), now - self._running_since), said)


def recorder_seen(
    state: StateDirectory, *, boot_id: str, monotonic: Callable[[], float]
) -> OtherProcess[RecorderDocument]:
    """Return the recorder as seen from another process."""
    return OtherProcess(
        state, Process.RECORDER, RECORDER_FILE, RECORDER, boot_id=boot_id, monotonic=monotonic
    )


def deliverer_seen(
    state: StateDirectory, *, boot_id: str, monotonic: Callable[[], float]
) -> OtherProcess[DeliveryDocument]:
    """Return the deliverer as seen from another process."""
    return OtherProcess(
        state, Process.DELIVERER, DELIVERY_FILE, DELIVERY, boot_id=boot_id, monotonic=monotonic
    )


def delivery_state(deliverer: Seen[DeliveryDocument]) -> Delivery:
    """Return the word of ``status --json`` for a deliverer."""
    if not deliverer.is_running:
        return Delivery.STOPPED
    if deliverer.is_hung:
        return Delivery.HUNG
    said = deliverer.document
    return Delivery.FAILING if said is not None and said.failing else Delivery.RUNNING
