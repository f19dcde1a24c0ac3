"""The document of ``status --json``, which is a contract: this module is the list of its fields.

Both processes answer with one, and ``merged`` makes one of two. Command line (JSON and text), page, doctor, metrics
and ``status.json`` read these structs and nothing else. Fields may be added, at the end of their struct and with a
default that means *not known*: an earlier version that still runs says less. Times are RFC 3339 in UTC.
``agent.status.status_now`` fills one in from the board.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from agent.errors import AgentError
from agent.hints import restart
from agent.status.board import CredentialState, Delivery, Quality, State, Transfer


class MarkStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """A moment of the recording that a person has marked."""

    offset_ms: int
    """From the first sample of the file."""
    text: str = ""


class RecordingStatus(msgspec.Struct, frozen=True):
    """The file that is being written."""

    id: str
    started_at: str
    duration_ms: int
    marks: list[MarkStatus] = []
    """The newest, oldest first."""


class WaitingStatus(msgspec.Struct, frozen=True):
    """Why nothing is being delivered although something waits."""

    reason: str
    until: str | None = None
    hint: str = ""
    """What the owner can do about a rule of the owner's; empty for all else, which ends by itself."""


class MicrophoneStatus(msgspec.Struct, frozen=True):
    """The microphone in use, or the one that is missing."""

    id: str | None = None
    name: str = ""
    state: str = "closed"
    level_dbfs: float | None = None
    """Of the newest sound."""
    quality: Quality | None = None
    reason: str | None = None
    """Why its quality is not ``ok``, one sentence without its subject."""


class VoiceStatus(msgspec.Struct, frozen=True):
    """What begins a voice-activated recording."""

    trigger: str
    """``speech`` or ``sound``."""
    problem: str | None = None
    """Why it is ``sound`` although ``speech`` is wanted."""


class StorageStatus(msgspec.Struct, frozen=True):
    """The disk that holds the recordings."""

    free_mb: int | None = None
    full: bool | None = None
    in_memory: bool | None = None
    """Gone with the power."""


class ClockStatus(msgspec.Struct, frozen=True):
    """Whether the wall clock is right, and by whom."""

    synchronized: bool | None = None
    source: str | None = None


class MegabytesStatus(msgspec.Struct, frozen=True):
    """Megabytes of a day."""

    metered: float | None = None
    total: float | None = None


class LimitStatus(msgspec.Struct, frozen=True):
    """The owner's limits of a day, in megabytes; None: there is none."""

    metered: int | None = None
    total: int | None = None


class NetworkStatus(msgspec.Struct, frozen=True):
    """What leads to the network, what is waited for, and what crossed it today."""

    connection: str | None = None
    """``ethernet``, ``wifi`` or ``cellular``."""
    metered: bool | None = None
    roaming: bool | None = None
    waits_for: list[str] | None = None
    """The connections that the owner allows, while something waits for one of them."""
    used_today_mb: MegabytesStatus = MegabytesStatus()
    daily_limit_mb: LimitStatus = LimitStatus()


class CredentialStatus(msgspec.Struct, frozen=True):
    """The device token, which itself is never shown."""

    state: CredentialState = CredentialState.UNKNOWN
    fingerprint: str | None = None


class WindowStatus(msgspec.Struct, frozen=True, rename={"begin": "from"}):
    """A window of the schedule."""

    begin: str
    until: str


class StatusDocument(msgspec.Struct, frozen=True, kw_only=True):
    """All that ``status --json`` says, in its order; the defaults are what is said of nothing that answers."""

    state: State = State.STOPPED
    recording: RecordingStatus | None = None
    pending: int = 0
    parked: int = 0
    held: int = 0
    held_reason: str | None = None
    oldest_pending_at: str | None = None
    drain_seconds: float | None = None
    """How long delivery of all that waits will take."""
    last_delivery_at: str | None = None
    online: bool | None = None
    """Whether the API was reached at the last try."""
    waiting: WaitingStatus | None = None
    transfer: Transfer | None = None
    microphone: MicrophoneStatus = MicrophoneStatus()
    voice: VoiceStatus | None = None
    storage: StorageStatus = StorageStatus()
    clock: ClockStatus = ClockStatus()
    network: NetworkStatus = NetworkStatus()
    credential: CredentialStatus = CredentialStatus()
    next_windows: list[WindowStatus] = []
    delivery: Delivery = Delivery.STOPPED
    fault: str | None = None
    """Why nothing can be recorded, or what is wrong with the settings; what to do included."""
    fault_hint: str = ""
    """The part of ``fault`` that says what to do."""
    version: str = ""
    written_at: str | UnsetType = UNSET
    """Of ``status.json`` only."""


OF_THE_DELIVERER = (
    *("pending", "parked", "held", "held_reason", "oldest_pending_at", "drain_seconds", "last_delivery_at"),
    *("online", "waiting", "transfer", "network", "credential", "delivery"),
)
"""The fields in which the deliverer's own answer counts."""


def merged(recorder: StatusDocument | None, deliverer: StatusDocument) -> StatusDocument:
    """Return one answer of two processes; without a recorder's the deliverer's says what it sees of it."""
    if recorder is None:
        return deliverer
    own = {name: getattr(deliverer, name) for name in OF_THE_DELIVERER}
    return msgspec.structs.replace(recorder, **own)


_DECODER = msgspec.json.Decoder(StatusDocument)
"""Has the types looked into at import."""


def status_document(answer: Any) -> StatusDocument:
    """Return a process's answer to ``status``.

    Raises:
        AgentError: it is none; another version answers.
    """
    try:
        return msgspec.convert(answer, StatusDocument)
    except (msgspec.ValidationError, RecursionError) as error:
        raise AgentError(
            f"what answers is no recorder-agent of this version (its status: {error})", restart()
        ) from error
