"""What ``status --json`` and ``queue --json`` say: board, index, credential and disk put together."""

import sqlite3
from pathlib import Path
from typing import Any

from agent import __version__
from agent.audio.ogg import NotOggOpus, read_summary
from agent.config import Config
from agent.errors import CredentialError
from agent.host.clocksync import clock_state
from agent.host.disk import Disk
from agent.host.storage import room, shortage
from agent.index.owners import HELD
from agent.index.store import Store
from agent.outbox.entry import Entry, Status
from agent.outbox.files import AUDIO, Files, names
from agent.recording.clock import rfc3339, rfc3339_or_none
from agent.recording.segment import PART, SegmentStart
from agent.statedir import StateDirectory
from agent.status.board import CredentialState, Snapshot, State
from agent.sync.credential.credentials import Credentials
from agent.sync.rules.forecast import drain_seconds

Json = dict[str, Any]


def status_of(
    snapshot: Snapshot,
    level_dbfs: float | None,
    config: Config,
    state: StateDirectory,
    store: Store | None,
    credentials: Credentials,
) -> Json:
    """Return the contract of ``status --json``; what is unknown is None."""
    counts = store.counts() if store else {"pending": 0, "parked": 0, "held": 0}
    oldest = store.oldest_waiting() if store else None
    delivered = snapshot.last_delivery_ms or (store.last_delivery_ms() if store else None)
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
        },
        **counts,
        "held_reason": HELD if counts["held"] else None,
        "oldest_pending_at": rfc3339_or_none(oldest.started.wall_ms if oldest else None),
        "drain_seconds": _drain_seconds(snapshot, config, store, counts["pending"]),
        "last_delivery_at": rfc3339_or_none(delivered),
        "online": snapshot.online,
        "waiting": None
        if waiting is None
        else {
            "reason": waiting.reason,
            "until": rfc3339_or_none(waiting.until_ms),
        },
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
        },
        "storage": _storage(config, state),
        "clock": {
            "synchronized": None if synchronized is None else synchronized == "ntp",
            "source": synchronized,
        },
        "credential": credential_of(snapshot.credential, credentials),
        "fault": snapshot.fault,
        "version": __version__,
    }


def _drain_seconds(snapshot: Snapshot, config: Config, store: Store | None, pending: int) -> float | None:
    every = config.recording.segment_seconds if snapshot.recording is not None else None
    waiting_bytes = store.pending_bytes() if store else 0
    seconds = drain_seconds(pending, waiting_bytes, snapshot.seconds_each, every, config.sync)
    return None if seconds is None else round(seconds, 1)


def stopped_status(
    config: Config, state: StateDirectory, store: Store | None, credentials: Credentials
) -> Json:
    """Return the status while no daemon runs."""
    return status_of(Snapshot(state=State.STOPPED), None, config, state, store, credentials)


def _storage(config: Config, state: StateDirectory) -> Json:
    try:
        free = room(state.path).free_mb
    except OSError:
        return {"free_mb": None, "full": None}
    return {"free_mb": free, "full": shortage(state.path, config.storage.min_free_mb) is not None}


def credential_of(known: CredentialState, credentials: Credentials) -> Json:
    """Return what is known about the token: never the token, only its fingerprint."""
    try:
        choice = credentials.find()
    except CredentialError:
        choice = None
    fingerprint = choice.token.fingerprint if choice is not None else credentials.hidden()
    if fingerprint is None:
        return {"state": CredentialState.MISSING.value, "fingerprint": None}
    state = CredentialState.UNKNOWN if known is CredentialState.MISSING else known
    return {"state": state.value, "fingerprint": fingerprint}


def row_of(entry: Entry, files: Files) -> Json:
    """Return one element of ``queue list --json``."""
    return {
        "id": entry.id,
        "seq": entry.seq,
        "session_id": entry.session_id,
        "segment": entry.segment,
        "status": entry.status.value,
        "started_at": rfc3339(entry.started.wall_ms),
        "ended_at": rfc3339(entry.ended_ms),
        "duration_ms": entry.duration_ms,
        "size_bytes": entry.size_bytes,
        "sha256": entry.sha256,
        "path": str(files.audio(entry).absolute()),
        "remote_id": entry.remote_id,
        "attempts": entry.attempts,
        "last_error": HELD if entry.status is Status.HELD else entry.last_error,
        "next_attempt_at": rfc3339_or_none(entry.next_attempt_ms),
        "metadata": entry.metadata,
        "verified": entry.verified,
        "recovered": entry.recovered,
        "clock": entry.started.clock,
    }


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
        rows.append(
            {
                "id": start.id,
                "seq": start.seq,
                "session_id": start.session_id,
                "segment": start.segment,
                "status": "recording",
                "started_at": rfc3339(start.started.wall_ms),
                "ended_at": None,
                "duration_ms": duration_ms,
                "size_bytes": path.stat().st_size,
                "sha256": None,
                "path": str(path.absolute()),
                "remote_id": None,
                "attempts": 0,
                "last_error": None,
                "next_attempt_at": None,
                "metadata": start.metadata,
                "verified": False,
                "recovered": False,
                "clock": start.started.clock,
            }
        )
    return rows


def open_for_reading(state: StateDirectory) -> Store | None:
    """Return the index for reading; None when there is none yet."""
    if not state.database.exists():
        return None
    try:
        return Store(state.database, Disk(), read_only=True)
    except sqlite3.Error:
        return None
