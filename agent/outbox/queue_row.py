"""One row of the queue, as ``queue list --json`` and every other answer about a recording shows it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from agent.audio.ogg import NotOggOpus, read_summary
from agent.clock import rfc3339, rfc3339_or_none
from agent.outbox.entry import Entry, Status
from agent.outbox.files import AUDIO, Files, names
from agent.recording.segment import PART, SegmentStart
from agent.status.words import HELD

RECORDING = "recording"
"""The status of a file that is being written."""


class QueueRow(msgspec.Struct, frozen=True, kw_only=True):
    """Times are RFC 3339; None is what is not known yet."""

    id: str
    seq: int
    session_id: str
    segment: int
    status: str
    started_at: str
    ended_at: str | None = None
    duration_ms: int
    size_bytes: int
    sha256: str | None = None
    path: str
    remote_id: str | None = None
    attempts: int = 0
    last_error: str | None = None
    next_attempt_at: str | None = None
    metadata: dict[str, Any]
    verified: bool = False
    recovered: bool = False
    clock: str
    peak_dbfs: float | None = None
    rms_dbfs: float | None = None
    clipped_seconds: int | None = None

    @staticmethod
    def of_entry(entry: Entry, audio: Path) -> "QueueRow":
        """Return the row of a finished recording."""
        return QueueRow(
            id=entry.id,
            seq=entry.seq,
            session_id=entry.session_id,
            segment=entry.segment,
            status=entry.status.value,
            started_at=rfc3339(entry.started.wall_ms),
            ended_at=rfc3339(entry.ended_ms),
            duration_ms=entry.duration_ms,
            size_bytes=entry.size_bytes,
            sha256=entry.sha256,
            path=str(audio.absolute()),
            remote_id=entry.remote_id,
            attempts=entry.attempts,
            last_error=HELD if entry.status is Status.HELD else entry.last_error,
            next_attempt_at=rfc3339_or_none(entry.next_attempt_ms),
            metadata=entry.metadata,
            verified=entry.verified,
            recovered=entry.recovered,
            clock=entry.started.clock,
            peak_dbfs=entry.peak_dbfs,
            rms_dbfs=entry.rms_dbfs,
            clipped_seconds=entry.clipped_seconds,
        )

    @staticmethod
    def of_open(start: SegmentStart, path: Path, *, duration_ms: int) -> "QueueRow":
        """Return the row of a file that is being written."""
        return QueueRow(
            id=start.id,
            seq=start.seq,
            session_id=start.session_id,
            segment=start.segment,
            status=RECORDING,
            started_at=rfc3339(start.started.wall_ms),
            duration_ms=duration_ms,
            size_bytes=path.stat().st_size,
            path=str(path.absolute()),
            metadata=start.metadata,
            clock=start.started.clock,
        )

    def shown(self) -> dict[str, Any]:
        """Return it as the JSON object that it is."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields


def row_of(entry: Entry, files: Files) -> dict[str, Any]:
    """Return one element of ``queue list --json``."""
    return QueueRow.of_entry(entry, files.audio(entry)).shown()


def queue_rows(entries: Sequence[Entry], files: Files) -> list[dict[str, Any]]:
    """Return what ``queue list --json`` says: every recording, and the files that are being written."""
    rows = [row_of(entry, files) for entry in entries]
    known = {row["id"] for row in rows}
    rows += [row for row in open_rows(files.recording) if row["id"] not in known]
    return sorted(rows, key=lambda row: int(row["seq"]))


def open_rows(folder: Path) -> list[dict[str, Any]]:
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
