"""What stands on the page, in words, from the document of ``status --json``."""

from typing import Any

from agent.report.words import length
from agent.status.advice import HEALTHY, first_thing
from agent.status.words import SOUNDING, local_moment, local_time, microphone, why, windows

WORDS = {
    "recording": "Recording",
    "listening": "Listening",
    "idle": "Ready",
    "muted": "Muted",
    "no_microphone": "No microphone",
    "storage_full": "Card full",
    "fault": "Fault",
    "stopped": "Not running",
}
FLOOR_DBFS = -60.0
BYTES_PER_KB = 1000

Json = dict[str, Any]
NOTHING: Json = {
    "state": "stopped",
    "recording": None,
    "microphone": {"name": "", "state": "closed", "level_dbfs": None, "quality": None},
    "storage": {"free_mb": None, "in_memory": None},
    "clock": {"source": None},
    "credential": {"state": "unknown"},
    "network": {},
    "delivery": "stopped",
    "pending": 0,
    "waiting": None,
    "transfer": None,
    "last_delivery_at": None,
    "fault": None,
    "version": "",
}
"""What is known where neither process answers."""


def view(now: Json | None) -> Json:
    """Return the texts of the page's changing part."""
    now = NOTHING if now is None else NOTHING | now
    advice = first_thing(now)
    return {
        "state": _state(now),
        "kind": now["state"],
        "since": _since(now),
        "advice": advice.sentence if advice.seriousness != HEALTHY else "",
        "seriousness": advice.seriousness,
        "level": level(now["microphone"].get("level_dbfs"), now["microphone"].get("state")),
        "facts": [(name, text) for name, text in _facts(now) if text],
        "marks": _marks(now["recording"]),
        "is_muted": now["state"] == "muted",
        "is_recording": now["recording"] is not None,
        "version": now["version"],
    }


def level(dbfs: float | None, state: str | None) -> Json:
    """Return the level as the meter has it: None where nothing is heard."""
    is_heard = dbfs is not None and state in SOUNDING
    return {
        "dbfs": max(FLOOR_DBFS, min(0.0, dbfs)) if is_heard and dbfs is not None else None,
        "text": f"{dbfs:.0f} dB" if is_heard else "no sound",
    }


def _state(now: Json) -> str:
    if now["state"] == "idle" and now["microphone"]["state"] == "opening":
        return "Starting"
    return WORDS.get(now["state"], str(now["state"]))


def _since(now: Json) -> str:
    recording = now["recording"]
    if not recording:
        return ""
    return f"{length(recording['duration_ms'] / 1000)}, since {local_time(recording['started_at'])}"


def _facts(now: Json) -> list[tuple[str, str]]:
    transfer, storage = now["transfer"], now["storage"]
    return [
        ("Microphone", microphone(now["microphone"])),
        ("Waiting", _queue(now)),
        ("Why it waits", why(now["waiting"]) if now["pending"] and now["waiting"] else ""),
        ("Uploading", _transfer(transfer) if transfer else ""),
        ("Last delivery", local_moment(now["last_delivery_at"]) if now["last_delivery_at"] else "none yet"),
        ("Network", _network(now)),
        ("Next windows", windows(now.get("next_windows") or [])),
        ("Free on the card", f"{storage['free_mb']} MB" if storage.get("free_mb") is not None else ""),
    ]


def _queue(now: Json) -> str:
    parts = [f"{now['pending']} to be delivered" if now["pending"] else "nothing"]
    if now["pending"] and now.get("drain_seconds") is not None:
        parts.append(f"done in about {length(now['drain_seconds'])}")
    parts += [f"{now[name]} {name}" for name in ("parked", "held") if now.get(name)]
    return ", ".join(parts)


def _transfer(transfer: Json) -> str:
    total = max(1, transfer["total_bytes"])
    share = min(100, 100 * transfer["sent_bytes"] // total)
    return f"{share} % of {transfer['total_bytes'] // BYTES_PER_KB} kB"


def _network(now: Json) -> str:
    network = now["network"]
    known = network.get("connection") or ""
    words = [known] + [word for word in ("metered", "roaming") if network.get(word)]
    if now.get("online") is False:
        words.append("offline")
    return ", ".join(word for word in words if word)


def _marks(recording: Json | None) -> list[str]:
    if recording is None:
        return []
    found = recording.get("marks") or []
    return [f"{length(mark['offset_ms'] / 1000)} {mark.get('text', '')}".strip() for mark in reversed(found)]
