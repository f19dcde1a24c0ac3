"""The ledger: every second that should have been recorded and was not, one JSON line each, in ``gaps.jsonl``."""

import os
import threading
from enum import StrEnum
from pathlib import Path

import msgspec

from agent.bounds import DurationMs, LocalId, Sequence
from agent.host.disk import Disk
from agent.host.small_file import UnusableFile, decode, open_regular, read_bytes
from agent.log import get_logger
from agent.recording.clock import Instant

log = get_logger(__name__)

FILE = "gaps.jsonl"
MOST_BYTES = 64 << 20
"""More than a gap every minute of a year makes."""
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


GAP = msgspec.json.Decoder(Gap)
TAIL_BYTES = 65_536
"""How much of the ledger's end is read at a start."""


class Ledger:
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
                    log.error("the ledger cannot be written", action="ledger_failed", error=error)
            else:
                self._unwritten.clear()
                return True
        return False

    def _write(self, data: bytes) -> None:
        existed = self.path.exists()
        with self.path.open("a+b", buffering=0) as file:
            if file.seek(0, 2) and not _ends_line(file.fileno(), file.tell()):
                data = b"\n" + data
            self._disk.write(file, data, "ledger.write")
            self._disk.sync(file, "ledger.sync")
        if not existed:
            self._disk.sync_folder(self.path.parent, "ledger.sync_folder")


def _ends_line(descriptor: int, size: int) -> bool:
    return os.pread(descriptor, 1, size - 1) == b"\n"


def read_gaps(folder: Path) -> list[Gap]:
    """Return the gaps of a state directory's ledgers, oldest first; a gap that was closed later stands once.

    One that was closed where it began is none.
    """
    gaps = [*_gaps_of(folder / FILE), *_gaps_of(folder / DELIVERY_FILE)]
    return [gap for gap in gaps if gap.milliseconds != 0]


def last_gaps(folder: Path, size: int) -> list[Gap]:
    """Return the newest gaps of the recorder's ledger as it was when it had ``size`` bytes, oldest first."""
    return _gaps_of(folder / FILE, size)


def ledger_size(folder: Path) -> int:
    """Return how many bytes the recorder's ledger has."""
    try:
        return (folder / FILE).stat().st_size
    except OSError:
        return 0


def _gaps_of(path: Path, size: int | None = None) -> list[Gap]:
    """Return the gaps of a whole ledger, or of the last bytes it had when it was ``size`` long."""
    try:
        lines = (read_bytes(path, MOST_BYTES) if size is None else _tail(path, size)).splitlines()
    except (OSError, UnusableFile):
        return []
    gaps: dict[tuple[str, str, int, str | None], Gap] = {}
    for line in lines:
        try:
            gap = decode(GAP, line)
        except UnusableFile:
            continue
        gaps[gap.cause, gap.start.boot_id, gap.start.boot_ms, gap.recording_id] = gap
    return list(gaps.values())


def _tail(path: Path, size: int) -> bytes:
    descriptor = open_regular(path)
    try:
        return os.pread(descriptor, min(size, TAIL_BYTES), max(0, size - TAIL_BYTES))
    finally:
        os.close(descriptor)
