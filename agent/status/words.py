"""The one line a person wants to read: what the recorder does, and what waits."""

from collections.abc import Iterable
from datetime import datetime

from agent.clock import rfc3339_or_none
from agent.errors import MicrophoneError
from agent.hints import typed
from agent.status.board import CredentialState, Delivery, Snapshot, State
from agent.status.status_document import MicrophoneStatus, WaitingStatus, WindowStatus

_STATES = {
    State.RECORDING: "recording",
    State.LISTENING: "listening",
    State.IDLE: "idle",
    State.MUTED: "muted",
    State.NO_MICROPHONE: "no microphone",
    State.STORAGE_FULL: "storage full",
    State.FAULT: "fault",
    State.STOPPED: "stopped",
}


HELD_WHY = "held: recorded under another device token"
HELD_HINT = f"{typed('queue release --all')} sends it to the present owner"
HELD = f"{HELD_WHY}; {HELD_HINT}"
"""Why a held recording is not sent, for a person."""
SOUNDING = frozenset({"listening", "silent"})
"""The states of a microphone in which its level is one of now."""
DEFAULT = "default"
"""The name under which the system's own choice goes: nobody knows a microphone of that name."""


def missing(name: str | None) -> str:
    """Return which microphone is not there."""
    return "no microphone found" if name in {None, "", DEFAULT} else f"the microphone {name} is not there"


def no_microphone(name: str | None) -> MicrophoneError:
    """Return that a microphone is not there."""
    return MicrophoneError(missing(name), f"plug it in, and see {typed('devices')}")


def microphone(now: MicrophoneStatus) -> str:
    """Return how the microphone is."""
    name, state, quality = now.name, now.state, now.quality
    parts = [missing(name)] if state in {"waiting", "lost"} else [name, state]
    parts += [quality] if quality is not None and quality != state else []
    parts += [now.reason] if now.reason else []
    return ", ".join(parts)


def why(waiting: WaitingStatus) -> str:
    """Return why something waits, and until when in the machine's own time: ``off-peak, until 02:00``."""
    return f"{waiting.reason}, until {local_time(waiting.until)}" if waiting.until else waiting.reason


def local_time(rfc3339: str) -> str:
    """Return the hour and minute of a moment in the machine's own time."""
    return f"{datetime.fromisoformat(rfc3339).astimezone():%H:%M}"


def local_moment(rfc3339: str | None) -> str:
    """Return a moment in the machine's own time, to the second; a dash where none is known."""
    return f"{datetime.fromisoformat(rfc3339).astimezone():%Y-%m-%d %H:%M:%S}" if rfc3339 else "–"


def local_date(rfc3339: str) -> str:
    """Return a moment in the machine's own time, with its day."""
    return f"{datetime.fromisoformat(rfc3339).astimezone():%a %d %b %H:%M}"


def windows(found: Iterable[WindowStatus]) -> str:
    """Return windows of the schedule in the machine's own time; empty for none."""
    return "; ".join(f"{local_date(each.begin)} to {local_date(each.until)}" for each in found)


def sentence(snapshot: Snapshot, counts: dict[str, int]) -> str:
    """Return the state, the queue and what stands in its way, comma-separated, without a full stop."""
    parts = [_STATES[snapshot.state]]
    if snapshot.state is State.IDLE and snapshot.microphone_state == "opening":
        parts = ["starting"]
    if snapshot.state in {State.STORAGE_FULL, State.FAULT} and snapshot.fault:
        parts = [f"{parts[0]}: {snapshot.fault}"]
    if snapshot.state is State.NO_MICROPHONE:
        name = snapshot.microphone_name
        parts.append(snapshot.fault or f"waiting for {name}")
        if not snapshot.fault and name in {None, "", DEFAULT}:
            parts = [missing(name)]
    if snapshot.delivery is not Delivery.RUNNING:
        parts.append(f"delivery {snapshot.delivery.value}")
    return ", ".join(parts + _delivery(snapshot, counts))


def delivery_sentence(snapshot: Snapshot, counts: dict[str, int], failing: str | None) -> str:
    """Return what the deliverer does and what waits, in the same way."""
    return ", ".join(([failing] if failing else []) + _delivery(snapshot, counts)) or "nothing waits"


def _delivery(snapshot: Snapshot, counts: dict[str, int]) -> list[str]:
    parts: list[str] = []
    transfer = snapshot.transfer
    if transfer is not None:
        parts.append(f"uploading {100 * transfer.sent_bytes // max(1, transfer.total_bytes)} %")
    if counts["pending"]:
        parts.append(f"{counts['pending']} waiting")
        if (waiting := snapshot.waiting) is not None:
            parts[-1] += f" ({why(WaitingStatus(waiting.reason, rfc3339_or_none(waiting.until_ms)))})"
    parts += [f"{counts[name]} {name}" for name in ("parked", "held") if counts[name]]
    token = f"device token {snapshot.credential.value}"
    is_said = any(token in part for part in parts)
    if snapshot.credential in {CredentialState.MISSING, CredentialState.REFUSED} and not is_said:
        parts.append(token)
    if snapshot.settings_problem:
        parts.append(f"on the last good settings: {snapshot.settings_problem}")
    return parts
