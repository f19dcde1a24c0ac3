"""What ``status --json`` and ``queue --json`` say: board, queue, credential and disk put together."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from agent import __version__
from agent.audio.ogg import NotOggOpus, read_summary
from agent.clock import rfc3339, rfc3339_or_none
from agent.config.schema import Config
from agent.host.medium import in_memory
from agent.host.storage import disk_usage, space_problem
from agent.host.time_sync import clock_state
from agent.outbox.entry import HELD, Entry
from agent.outbox.files import AUDIO, Files, names
from agent.outbox.queue_row import QueueRow
from agent.recording.calendar.lines import Stretch
from agent.recording.segment import PART, SegmentStart
from agent.status.board import NetworkNow, Snapshot, Waiting
from agent.status.documents import Queue

Json = dict[str, Any]


def status_of(
    snapshot: Snapshot,
    level_dbfs: float | None,
    config: Config,
    folder: Path,
    queue: Queue,
    fingerprint: str | None,
    windows: Sequence[Stretch] = (),
    marks: Sequence[Json] = (),
) -> Json:
    """Return the contract of ``status --json``; ``folder`` is the state directory, what is unknown is None.

    ``windows`` are the next ones of the schedule, ``marks`` those of the recording that runs, oldest first.
    """
    synchronized = clock_state()
    recording, waiting = snapshot.recording, snapshot.waiting
    return {
        "state": snapshot.state.value,
        "recording": None
        if recording is None
        else {
            "id": recording.id,
            "started_at": rfc3339(recording.started_ms),
            "duration_ms": recording.duration_ms,
            "marks": list(marks),
        },
        **queue.counts,
        "held_reason": HELD if queue.held else None,
        "oldest_pending_at": rfc3339_or_none(queue.oldest_pending_ms),
        "drain_seconds": queue.drain_seconds if queue.pending else 0.0,
        "last_delivery_at": rfc3339_or_none(snapshot.last_delivery_ms or queue.last_delivery_ms),
        "online": snapshot.online,
        "waiting": None if waiting is None else waiting_shown(waiting),
        "transfer": None
        if snapshot.transfer is None
        else {
            "id": snapshot.transfer.id,
            "sent_bytes": snapshot.transfer.sent_bytes,
            "total_bytes": snapshot.transfer.total_bytes,
        },
        "microphone": {
            "id": snapshot.microphone_id,
            "name": snapshot.microphone_name or config.audio.input,
            "state": snapshot.microphone_state,
            "level_dbfs": None if level_dbfs is None else round(level_dbfs, 1),
            "quality": snapshot.microphone_quality,
            "reason": snapshot.microphone_reason,
        },
        "voice": None
        if snapshot.voice_trigger is None
        else {"trigger": snapshot.voice_trigger, "problem": snapshot.voice_problem},
        "storage": _storage(config, folder),
        "clock": {
            "synchronized": None if synchronized is None else synchronized == "ntp",
            "source": synchronized,
        },
        "network": _network(snapshot, config, is_waiting=queue.pending > 0),
        "credential": {"state": snapshot.credential.value, "fingerprint": fingerprint},
        "next_windows": windows_shown(windows),
        "delivery": snapshot.delivery.value,
        "fault": snapshot.fault or snapshot.settings_problem,
        "fault_hint": snapshot.fault_hint if snapshot.fault else "",
        "version": __version__,
    }


def waiting_shown(waiting: Waiting) -> Json:
    """Return why nothing is delivered as ``status`` tells it."""
    return {
        "reason": waiting.reason,
        "until": rfc3339_or_none(waiting.until_ms),
        "hint": waiting.hint,
    }


def _network(snapshot: Snapshot, config: Config, *, is_waiting: bool) -> Json:
    """Return the connection in use, what waits for another one, and what crossed it today."""
    now, settings = snapshot.network or NetworkNow(), config.sync
    is_allowed = now.connection is None or now.connection in settings.enabled_connections
    is_known = snapshot.network is not None
    return {
        "connection": now.connection,
        "metered": now.metered,
        "roaming": now.roaming,
        "waits_for": list(settings.enabled_connections) if is_waiting and not is_allowed else None,
        "used_today_mb": {
            "metered": round(now.metered_bytes / 1e6, 3) if is_known else None,
            "total": round(now.total_bytes / 1e6, 3) if is_known else None,
        },
        "daily_limit_mb": {
            "metered": settings.daily_data_limit_mb or None,
            "total": settings.daily_total_limit_mb or None,
        },
    }


def windows_shown(windows: Sequence[Stretch]) -> list[Json]:
    """Return the next windows of the schedule as ``status`` and ``config show`` tell them."""
    return [{"from": _utc(each.begin), "until": _utc(each.end)} for each in windows]


def _utc(moment: datetime) -> str:
    return rfc3339(round(moment.timestamp() * 1000))


OF_THE_DELIVERER = (
    *("pending", "parked", "held", "held_reason", "oldest_pending_at", "drain_seconds", "last_delivery_at"),
    *("online", "waiting", "transfer", "network", "credential"),
)
"""The fields of ``status --json`` in which the deliverer's own answer counts."""


def merged(recorder: Json | None, deliverer: Json) -> Json:
    """Return one answer of two processes; without a recorder's the deliverer's says what it sees of it."""
    if recorder is None:
        return deliverer
    own = {key: deliverer[key] for key in (*OF_THE_DELIVERER, "delivery") if key in deliverer}
    return recorder | own


def _storage(config: Config, folder: Path) -> Json:
    try:
        free = disk_usage(folder).free_mb
    except OSError:
        return {"free_mb": None, "full": None, "in_memory": None}
    is_full = space_problem(folder, config.storage.min_free_mb) is not None
    return {"free_mb": free, "full": is_full, "in_memory": in_memory(folder)}


def row_of(entry: Entry, files: Files) -> Json:
    """Return one element of ``queue list --json``."""
    return QueueRow.of_entry(entry, files.audio(entry)).shown()


def queue_rows(entries: Sequence[Entry], files: Files) -> list[Json]:
    """Return what ``queue list --json`` says: every recording, and the files that are being written."""
    rows = [row_of(entry, files) for entry in entries]
    known = {row["id"] for row in rows}
    rows += [row for row in open_rows(files.recording) if row["id"] not in known]
    return sorted(rows, key=lambda row: int(row["seq"]))


def open_rows(folder: Path) -> list[Json]:
    """Return the files that are being written, as their own tags and pages describe them."""
    rows = []
    for name in names(folder):
        path = folder / name
        if not name.endswith(AUDIO + PART):
            continue
        try:
            summary = read_summary(path)
        except (NotOggOpus, OSError):
            continue
        start = SegmentStart.from_tags(summary.tags)
        if start is None:
            continue
        duration_ms = summary.samples_48k // 48
        rows.append(QueueRow.of_open(start, path, duration_ms=duration_ms).shown())
    return rows
