"""The gap log: every second that should have been recorded and was not, one JSON line each, in ``gaps.jsonl``.

A file that has grown to ``ROTATE_BYTES`` becomes ``gaps.1.jsonl``, in the place of an older one. It is read by
``agent.recording.days.gapsfile``.
"""

import contextlib
import os
import threading
from enum import StrEnum
from pathlib import Path

import msgspec

from agent.bounds import DurationMs, LocalId, Sequence
from agent.clock import Instant
from agent.disk import Disk, set_aside
from agent.log import get_logger
from agent.small_file import is_regular

log = get_logger(__name__)

FILE = "gaps.jsonl"
ROTATE_BYTES = 8 << 20
"""About 50,000 gaps: one every ten minutes of a year."""
DELIVERY_FILE = "gaps-delivery.jsonl"
"""What the deliverer dropped or deleted: it was recorded, and is no part of the sum."""


class Cause(StrEnum):
    """Why nothing was recorded."""

    NOT_RUNNING = "not_running"
    """The agent or the machine was off."""
    NO_MICROPHONE = "no_microphone"
    """There was no microphone, or it had stopped giving samples."""
    STORAGE = "storage"
    """The card was full or failed."""
    OVERFLOW = "overflow"
    """Samples were lost while capturing; the recording holds silence in their place."""
    CUT = "cut"
    """The end of a file was lost by a kill or a power cut."""
    MUTED = "muted"
    """A person had silenced the recorder."""
    TOO_SHORT = "too_short"
    """Dropped by ``recording.min_seconds``."""
    DROPPED = "dropped"
    """Dropped undelivered by ``storage.when_full = "drop_oldest"``."""
    FAULT = "fault"
    """The recorder could not record, and not heal by itself: no encoder, no right to its folder, a setting."""
    DELETED = "deleted"
    """Deleted undelivered by a person."""


REMOVED = frozenset({Cause.DROPPED, Cause.DELETED})
"""Of what was recorded, and is gone undelivered: no part of what is missing."""


class Gap(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stretch that was not recorded, or was recorded and is gone undelivered."""

    cause: Cause
    start: Instant
    end: Instant | None = None
    """None where only the length is known."""
    milliseconds: DurationMs | None = None
    """Its length where samples tell it; else it follows from both ends."""
    recording_id: LocalId | None = None
    before_number: Sequence = 0
    """Of a gap that is open: what is recorded after it has this number or a larger one; 0: not told."""

    @property
    def is_open(self) -> bool:
        """Whether its end had not come when it was written."""
        return self.end is None and self.milliseconds is None

    @property
    def key(self) -> tuple[str, str, int, str | None]:
        """What its line has in common with the line that closes it."""
        return self.cause, self.start.boot_id, self.start.boot_ms, self.recording_id


GAP = msgspec.json.Decoder(Gap)


class GapLog:
    """Appends durable lines; thread-safe. A torn last line (power cut) is skipped when reading."""

    def __init__(self, folder: Path, disk: Disk, file: str = FILE) -> None:
        self.path = folder / file
        self._disk = disk
        self._lock = threading.Lock()
        self._unwritten: list[Gap] = []

    def add(self, gap: Gap) -> bool:
        """Write a gap; return whether it is durable. One that the disk refuses is kept and written with the next."""
        with self._lock:
            self._unwritten.append(gap)
            return self._write_unwritten()

    def retry(self) -> None:
        """Write what the disk has refused."""
        with self._lock:
            if self._unwritten:
                self._write_unwritten()

    def _write_unwritten(self) -> bool:
        """Write, and once more where the disk refuses."""
        data = b"".join(msgspec.json.encode(each) + b"\n" for each in self._unwritten)
        for is_last in (False, True):
            try:
                self._write(data)
            except OSError as error:
                if is_last:
                    log.error("the gap log cannot be written", action="ledger_failed", error=error)
            else:
                self._unwritten.clear()
                return True
        return False

    def _write(self, data: bytes) -> None:
        self._rotate()
        existed = self._is_there()
        with self.path.open("a+b", buffering=0) as file:
            if file.seek(0, 2) and not _ends_line(file.fileno(), file.tell()):
                data = b"\n" + data
            self._disk.write(file, data, "ledger.write")
            self._disk.sync(file, "ledger.sync")
        if not existed:
            self._disk.sync_folder(self.path.parent, "ledger.sync_folder")

    def _is_there(self) -> bool:
        """Return whether there is a file to go on with; what stands at its name and is none is set aside."""
        if os.path.lexists(self.path) and not is_regular(self.path):
            set_aside(self.path)
        return self.path.exists()

    def _rotate(self) -> None:
        """Begin a new file when this one is large; where the disk refuses that, it grows on, and its end is read."""
        with contextlib.suppress(OSError):
            if self.path.stat().st_size >= ROTATE_BYTES:
                self._disk.rename(self.path, older(self.path), "ledger.rotate")


def older(path: Path) -> Path:
    """Return where what a gap log's file had no more room for lies."""
    return path.with_name(f"{path.stem}.1{path.suffix}")


def _ends_line(descriptor: int, size: int) -> bool:
    return os.pread(descriptor, 1, size - 1) == b"\n"
