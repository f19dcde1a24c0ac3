"""What the two processes tell each other of themselves: one small file each, in memory, replaced whole, never synced.

``recorder-status.json`` is the recorder's, ``delivery.json`` the deliverer's. Whoever reads one reads a stranger's:
every field is bounded, and what does not pass is no document. A document tells by boot id and monotonic clock when it
was written, so that neither a step of the wall clock nor a suspend makes a process look hung.
"""

import os
from typing import Annotated

import msgspec
from msgspec import Meta

from agent.status.board import (
    CredentialState,
    NetworkNow,
    Quality,
    RecordingNow,
    Snapshot,
    State,
    Transfer,
    Waiting,
)
from agent.status.status_document import CredentialStatus

RECORDER_FILE = "recorder-status.json"
DELIVERY_FILE = "delivery.json"
HUNG_SECONDS = 30.0
"""A document older than this is one of a process that hangs."""
EVERY_SECONDS = 10.0
"""How often one is written although nothing has changed."""

Moment = Annotated[int, Meta(ge=-(1 << 53), le=1 << 53)]
"""Milliseconds of some clock."""
Count = Annotated[int, Meta(ge=0, le=1 << 53)]
Short = Annotated[str, Meta(max_length=128)]
Sentence = Annotated[str, Meta(max_length=1000)]
SENTENCE_LENGTH = 1000


class Written(msgspec.Struct, frozen=True):
    """When a document was written, and by whom."""

    pid: Count
    boot_id: Short
    monotonic_ms: Moment
    wall_ms: Moment

    @classmethod
    def at(cls, boot_id: str, monotonic: float, wall: float) -> "Written":
        """Return the stamp of this process at a moment, given in seconds."""
        return cls(os.getpid(), boot_id, round(monotonic * 1000), round(wall * 1000))

    def age_seconds(self, boot_id: str, monotonic: float) -> float:
        """Return how old it is by the monotonic clock; one of another boot is older than any limit."""
        return monotonic - self.monotonic_ms / 1000 if boot_id == self.boot_id else float("inf")


class _Recording(msgspec.Struct, frozen=True):
    id: Short
    started_ms: Moment
    duration_ms: Count
    size_bytes: Count


class RecorderDocument(msgspec.Struct, frozen=True):
    """How the recorder is."""

    written: Written
    state: State
    fault: Sentence | None = None
    settings: Sentence | None = None
    recording: _Recording | None = None
    manual: bool = False
    """A recording that somebody asked for runs, or is about to."""
    microphone_id: Sentence | None = None
    microphone_name: Sentence | None = None
    microphone_state: Short = "closed"
    microphone_quality: Quality | None = None
    microphone_reason: Sentence | None = None
    level_dbfs: Annotated[float, Meta(ge=-1000, le=1000)] | None = None
    recordings: Count = 0
    """Sequence number of the newest recording."""
    missing_ms: Count = 0
    """What was not recorded since its start."""


class _Waiting(msgspec.Struct, frozen=True):
    reason: Sentence
    until_ms: Moment | None = None
    hint: Sentence = ""


class _Transfer(msgspec.Struct, frozen=True):
    id: Short
    sent_bytes: Count
    total_bytes: Count


class _Network(msgspec.Struct, frozen=True):
    connection: Short | None = None
    metered: bool | None = None
    roaming: bool | None = None
    metered_bytes: Count = 0
    total_bytes: Count = 0


class Queue(msgspec.Struct, frozen=True):
    """What waits, as far as it is known."""

    pending: Count = 0
    parked: Count = 0
    held: Count = 0
    pending_bytes: Count = 0
    oldest_pending_ms: Moment | None = None
    last_delivery_ms: Moment | None = None
    drain_seconds: Annotated[float, Meta(ge=0, le=1e12)] | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Pending, parked, held."""
        return {"pending": self.pending, "parked": self.parked, "held": self.held}


class DeliveryDocument(msgspec.Struct, frozen=True):
    """How the deliverer is."""

    written: Written
    queue: Queue = Queue()
    failing: Sentence | None = None
    """Why its disk or its index fails it."""
    settings: Sentence | None = None
    online: bool | None = None
    waiting: _Waiting | None = None
    transfer: _Transfer | None = None
    network: _Network | None = None
    credential: CredentialState = CredentialState.UNKNOWN
    fingerprint: Short | None = None
    delivered: Count = 0
    delivered_bytes: Count = 0


RECORDER = msgspec.json.Decoder(RecorderDocument)
DELIVERY = msgspec.json.Decoder(DeliveryDocument)


def recorder_document(
    now: Snapshot,
    written: Written,
    *,
    level_dbfs: float | None,
    manual: bool,
    recordings: int,
    missing_ms: int,
) -> RecorderDocument:
    """Return the recorder's half of a snapshot as its document."""
    recording = now.recording
    return RecorderDocument(
        written,
        now.state,
        fault=cut(now.fault),
        settings=cut(now.settings),
        recording=None
        if recording is None
        else _Recording(recording.id, recording.started_ms, recording.duration_ms, recording.size_bytes),
        manual=manual,
        microphone_id=cut(now.microphone_id),
        microphone_name=cut(now.microphone_name),
        microphone_state=now.microphone_state,
        microphone_quality=now.microphone_quality,
        microphone_reason=cut(now.microphone_reason),
        level_dbfs=None if level_dbfs is None else round(level_dbfs, 1),
        recordings=recordings,
        missing_ms=max(0, missing_ms),
    )


def delivery_document(
    now: Snapshot,
    written: Written,
    queue: Queue,
    *,
    credential: CredentialStatus,
    failing: str | None,
) -> DeliveryDocument:
    """Return the deliverer's half of a snapshot as its document."""
    waiting, transfer = now.waiting, now.transfer
    return DeliveryDocument(
        written,
        queue,
        failing=cut(failing),
        settings=cut(now.settings),
        online=now.online,
        waiting=None
        if waiting is None
        else _Waiting(waiting.reason[:SENTENCE_LENGTH], waiting.until_ms, waiting.hint),
        transfer=None
        if transfer is None
        else _Transfer(transfer.id, transfer.sent_bytes, transfer.total_bytes),
        network=None if now.network is None else msgspec.convert(now.network, _Network, from_attributes=True),
        credential=credential.state,
        fingerprint=credential.fingerprint,
        delivered=now.delivered,
        delivered_bytes=now.delivered_bytes,
    )


def recorder_fields(said: RecorderDocument) -> dict[str, object]:
    """Return what a recorder's document says, as changes of the deliverer's board."""
    recording = said.recording
    return {
        "state": said.state,
        "fault": said.fault,
        "settings_there": said.settings,
        "recording": None
        if recording is None
        else RecordingNow(recording.id, recording.started_ms, recording.duration_ms, recording.size_bytes),
        "microphone_id": said.microphone_id,
        "microphone_name": said.microphone_name,
        "microphone_state": said.microphone_state,
        "microphone_quality": said.microphone_quality,
        "microphone_reason": said.microphone_reason,
    }


def delivery_fields(said: DeliveryDocument) -> dict[str, object]:
    """Return what a deliverer's document says, as changes of the recorder's board."""
    waiting, transfer = said.waiting, said.transfer
    if said.failing:
        waiting = _Waiting(said.failing, None)
    return {
        "online": said.online,
        "waiting": None if waiting is None else Waiting(waiting.reason, waiting.until_ms, waiting.hint),
        "transfer": None
        if transfer is None
        else Transfer(transfer.id, transfer.sent_bytes, transfer.total_bytes),
        "network": None
        if said.network is None
        else msgspec.convert(said.network, NetworkNow, from_attributes=True),
        "credential": said.credential,
        "settings_there": said.settings,
        "last_delivery_ms": said.queue.last_delivery_ms,
        "delivered": said.delivered,
        "delivered_bytes": said.delivered_bytes,
    }


NO_DELIVERY: dict[str, object] = {
    "online": None,
    "waiting": None,
    "transfer": None,
    "network": None,
    "credential": CredentialState.UNKNOWN,
    "settings_there": None,
}
"""What a recorder knows of delivery without a deliverer, beside the queue."""
NO_RECORDER: dict[str, object] = {
    "state": State.STOPPED,
    "fault": None,
    "recording": None,
    "microphone_state": "closed",
    "settings_there": None,
    "microphone_quality": None,
    "microphone_reason": None,
}
"""What a deliverer knows without a recorder."""


def cut(text: str | None) -> str | None:
    """Return a text that fits into a document."""
    return None if text is None else text[:SENTENCE_LENGTH]
