"""One row of the queue, as ``queue list --json`` and every other answer about a recording shows it."""

from pathlib import Path
from typing import Any

import msgspec

from agent.clock import rfc3339, rfc3339_or_none
from agent.outbox.entry import HELD, Entry, Status
from agent.recording.segment import SegmentStart

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
