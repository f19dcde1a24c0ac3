"""The one snapshot that everybody reports to and everything shown is derived from."""

import threading
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from agent.audio.level import SoundNow


class State(StrEnum):
    """What the recorder is doing, as ``status --json`` says it."""

    RECORDING = "recording"
    """Samples are being written."""
    LISTENING = "listening"
    """Nothing is being recorded, and it is listened: for a voice, or to keep the last minutes."""
    IDLE = "idle"
    """Nothing is asked for."""
    MUTED = "muted"
    """A person has silenced the recorder."""
    NO_MICROPHONE = "no_microphone"
    """A recording is asked for and there is nothing to record from."""
    STORAGE_FULL = "storage_full"
    """A recording is asked for and there is no room for it."""
    FAULT = "fault"
    """It cannot record and cannot heal by itself."""
    STOPPED = "stopped"
    """No recorder runs."""


class Quality(StrEnum):
    """Of what use the microphone's sound is, as ``status --json`` says it (``agent.recording.quality``)."""

    OK = "ok"
    SILENT = "silent"
    """Nothing but zeros for a minute."""
    QUIET = "quiet"
    """Something sounds, and arrives too quiet: the gain is wrong."""
    CLIPPING = "clipping"


class Delivery(StrEnum):
    """How the deliverer is, as ``status --json`` says it."""

    RUNNING = "running"
    STOPPED = "stopped"
    """Nobody holds its lock."""
    HUNG = "hung"
    """It runs and has not said anything for 30 s."""
    FAILING = "failing"
    """It runs, and its disk or its index fails it."""


class CredentialState(StrEnum):
    """What is known about the device token."""

    MISSING = "missing"
    """There is none, or it cannot be read."""
    UNKNOWN = "unknown"
    """It was not tried yet."""
    ACCEPTED = "accepted"
    """The API took it."""
    REFUSED = "refused"
    """The API answered 401 or 403."""


class RecordingNow(msgspec.Struct, frozen=True):
    """The segment that is being written."""

    id: str
    started_ms: int
    duration_ms: int
    size_bytes: int = 0
    """Of the file so far."""


class Waiting(msgspec.Struct, frozen=True):
    """Why nothing is being delivered although something waits."""

    reason: str
    until_ms: int | None = None
    hint: str = ""
    """What the owner can do about a rule of the owner's; empty for all else, which ends by itself."""


class Transfer(msgspec.Struct, frozen=True):
    """The recording that is on its way to the storage."""

    id: str
    sent_bytes: int
    total_bytes: int


class NetworkNow(msgspec.Struct, frozen=True):
    """What leads to the network, and what crossed it today."""

    connection: str | None = None
    """``ethernet``, ``wifi`` or ``cellular``; None: none, or it cannot be told."""
    metered: bool | None = None
    roaming: bool | None = None
    metered_bytes: int = 0
    total_bytes: int = 0


class Snapshot(msgspec.Struct, frozen=True):
    """Everything that is reported, at one moment."""

    state: State = State.IDLE
    fault: str | None = None
    """Why nothing can be recorded, what to do included."""
    fault_hint: str = ""
    """The part of ``fault`` that says what to do."""
    recording: RecordingNow | None = None
    microphone_id: str | None = None
    microphone_name: str | None = None
    microphone_state: str = "closed"
    voice_trigger: str | None = None
    """What begins a voice-activated recording: ``speech`` or ``sound``; None: nothing does."""
    voice_problem: str | None = None
    """Why it is ``sound`` although ``speech`` is wanted."""
    microphone_quality: Quality | None = None
    """None: nothing is known of what it gives."""
    microphone_reason: str | None = None
    """Why it is of no use, as far as its capture control tells it; one sentence without its subject."""
    online: bool | None = None
    waiting: Waiting | None = None
    transfer: Transfer | None = None
    network: NetworkNow | None = None
    """None: nobody has looked."""
    credential: CredentialState = CredentialState.UNKNOWN
    last_delivery_ms: int | None = None
    delivered: int = 0
    """Recordings since the start."""
    delivered_bytes: int = 0
    seconds_each: float | None = None
    """How long a delivery takes at present, waits for limits included."""
    delivery: Delivery = Delivery.RUNNING
    gone: bool = False
    """The recorder has stopped, and nobody told it to."""
    settings: str | None = None
    """What is wrong with this process's settings, while the last good ones are in use."""
    settings_there: str | None = None
    """The same of the other process, as far as it says."""

    @property
    def settings_problem(self) -> str | None:
        """What is wrong with the settings of either process; once where both say the same."""
        both = dict.fromkeys(filter(None, (self.settings, self.settings_there)))
        return "; ".join(both) or None


_STEADY_PARTS = {
    "recording": ("id", "started_ms"),
    "transfer": ("id", "total_bytes"),
    "network": ("connection", "metered", "roaming"),
    "seconds_each": (),
}
"""Of fields that change all the time the parts that do not."""


class Board:
    """Holds the snapshot; any thread may report and read."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._lock = threading.Lock()
        self._snapshot = Snapshot()
        self._monotonic = monotonic
        self._progress_at = monotonic()
        self.changed = threading.Event()
        """Set when something else than a length or an amount is reported; whoever publishes clears it."""
        self.sound: Callable[[], SoundNow | None] = lambda: None
        """How loud the newest sound is, asked for only when somebody looks."""

    @property
    def snapshot(self) -> Snapshot:
        """The present snapshot; it never changes afterwards."""
        return self._snapshot

    def level_dbfs(self) -> float | None:
        """Return the level of the newest sound; None while nothing is heard."""
        sound = self.sound()
        return None if sound is None else sound.level_dbfs

    def report(self, **changes: Any) -> None:
        """Replace fields of the snapshot; unknown names are a TypeError. A ``fault`` without its hint has none."""
        if "fault" in changes:
            changes.setdefault("fault_hint", "")
        with self._lock:
            before, self._snapshot = self._snapshot, msgspec.structs.replace(self._snapshot, **changes)
        if any(_shown(name, getattr(before, name)) != _shown(name, new) for name, new in changes.items()):
            self.changed.set()

    def progress(self) -> None:
        """Say that the recorder's present state makes progress (what the watchdog is fed by)."""
        self._progress_at = self._monotonic()

    def since_progress(self) -> float:
        """Seconds since the recorder last made progress."""
        return self._monotonic() - self._progress_at


def _shown(name: str, value: Any) -> Any:
    """Return a field's value without what grows by itself: two that are equal are shown alike."""
    parts = _STEADY_PARTS.get(name)
    if parts is None:
        return value
    return None if value is None or not parts else tuple(getattr(value, part) for part in parts)
