"""What stands on the page, in words, from the document of ``status --json``."""

from typing import Any

from agent.report.words import length
from agent.status.advice import HEALTHY, first_thing
from agent.status.board import State, Transfer
from agent.status.status_document import RecordingStatus, StatusDocument
from agent.status.words import SOUNDING, local_moment, local_time, microphone, why, windows

WORDS = {
    State.RECORDING: "Recording",
    State.LISTENING: "Listening",
    State.IDLE: "Ready",
    State.MUTED: "Muted",
    State.NO_MICROPHONE: "No microphone",
    State.STORAGE_FULL: "Card full",
    State.FAULT: "Fault",
    State.STOPPED: "Not running",
}
FLOOR_DBFS = -60.0
BYTES_PER_KB = 1000

Json = dict[str, Any]


def view(now: StatusDocument | None) -> Json:
    """Return the texts of the page's changing part; ``now`` is None where neither process answers."""
    now = StatusDocument() if now is None else now
    advice = first_thing(now)
    return {
        "state": _state(now),
        "kind": now.state.value,
        "since": _since(now),
        "advice": advice.sentence if advice.seriousness != HEALTHY else "",
        "seriousness": advice.seriousness,
        "level": level(now.microphone.level_dbfs, now.microphone.state),
        "facts": [(name, text) for name, text in _facts(now) if text],
        "marks": _marks(now.recording),
        "is_muted": now.state is State.MUTED,
        "is_recording": now.recording is not None,
        "version": now.version,
    }


def level(dbfs: float | None, state: str | None) -> Json:
    """Return the level as the meter has it: None where nothing is heard."""
    is_heard = dbfs is not None and state in SOUNDING
    return {
        "dbfs": max(FLOOR_DBFS, min(0.0, dbfs)) if is_heard and dbfs is not None else None,
        "text": f"{dbfs:.0f} dB" if is_heard else "no sound",
    }


def _state(now: StatusDocument) -> str:
    if now.state is State.IDLE and now.microphone.state == "opening":
        return "Starting"
    return WORDS[now.state]


def _since(now: StatusDocument) -> str:
    recording = now.recording
    if recording is None:
        return ""
    return f"{length(recording.duration_ms / 1000)}, since {local_time(recording.started_at)}"


def _facts(now: StatusDocument) -> list[tuple[str, str]]:
    free_mb = now.storage.free_mb
    return [
        ("Microphone", microphone(now.microphone)),
        ("Waiting", _queue(now)),
        ("Why it waits", why(now.waiting) if now.pending and now.waiting else ""),
        ("Uploading", _transfer(now.transfer) if now.transfer else ""),
        ("Last delivery", local_moment(now.last_delivery_at) if now.last_delivery_at else "none yet"),
        ("Network", _network(now)),
        ("Next windows", windows(now.next_windows)),
        ("Free on the card", f"{free_mb} MB" if free_mb is not None else ""),
    ]


def _queue(now: StatusDocument) -> str:
    parts = [f"{now.pending} to be delivered" if now.pending else "nothing"]
    if now.pending and now.drain_seconds is not None:
        parts.append(f"done in about {length(now.drain_seconds)}")
    parts += [f"{count} {name}" for name, count in (("parked", now.parked), ("held", now.held)) if count]
    return ", ".join(parts)


def _transfer(transfer: Transfer) -> str:
    share = min(100, 100 * transfer.sent_bytes // max(1, transfer.total_bytes))
    return f"{share} % of {transfer.total_bytes // BYTES_PER_KB} kB"


def _network(now: StatusDocument) -> str:
    network = now.network
    words = [network.connection or ""]
    words += ["metered"] if network.metered else []
    words += ["roaming"] if network.roaming else []
    words += ["offline"] if now.online is False else []
    return ", ".join(word for word in words if word)


def _marks(recording: RecordingStatus | None) -> list[str]:
    if recording is None:
        return []
    return [f"{length(mark.offset_ms / 1000)} {mark.text}".strip() for mark in reversed(recording.marks)]
