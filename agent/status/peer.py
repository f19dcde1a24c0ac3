"""The other process as seen from here: whether it runs, and what its status file says."""

from collections.abc import Callable
from typing import Generic, TypeVar

from agent.errors import AgentError
from agent.host.small_file import Decoder, load_or_none
from agent.statedir import Process, StateDirectory
from agent.status.board import Delivery
from agent.status.documents import (
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

    def silent_seconds(self) -> float:
        """Return for how long a running process has said nothing; one that has just started is given its time."""
        said = self.document()
        age = float("inf") if said is None else said.written.age_seconds(self._boot_id, self._monotonic())
        since = self._running_since
        return min(max(0.0, age), self._monotonic() - since if since is not None else 0.0)

    def document(self) -> Document | None:
        """Return what its status file says; None when there is none that passes."""
        path = self._state.runtime_of(self._process) / self._file
        return load_or_none(path, self._decoder, LARGEST_DOCUMENT)


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


def delivery_state(other: OtherProcess[DeliveryDocument]) -> Delivery:
    """Return the word of ``status --json`` for a deliverer."""
    if not other.is_running():
        return Delivery.STOPPED
    if other.silent_seconds() > HUNG_SECONDS:
        return Delivery.HUNG
    said = other.document()
    return Delivery.FAILING if said is not None and said.failing else Delivery.RUNNING
