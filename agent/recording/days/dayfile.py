"""A file of a line of JSON a day: appended to durably, the last line of a date counts, and it stays small."""

import os
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from agent.bounds import MOST_DAYS
from agent.disk import Disk
from agent.small_file import UnusableFile, decode, is_regular, read_bytes

MOST_LINES = MOST_DAYS + 200
MOST_BYTES = 2 << 20
YEARS = range(1971, 2200)
"""Of the moments that ``bounds.WallMs`` takes, in every zone."""


class HasDate(Protocol):
    """The sum of a day."""

    @property
    def date(self) -> str:
        """Its date, as ISO 8601 has it."""


T = TypeVar("T", bound=HasDate)


def is_date(name: str) -> bool:
    """Return whether a name that looks like a date is one of the calendar, and of a year that clocks here can show."""
    try:
        return date.fromisoformat(name).year in YEARS
    except ValueError:
        return False


def newest_before(days: Iterable[str], end: date) -> date | None:
    """Return the newest of some days that is before another; a line from the future keeps no later day from its own."""
    return max((day for day in map(date.fromisoformat, days) if day < end), default=None)


def read_days(path: Path, decoder: "msgspec.json.Decoder[T]") -> dict[str, T]:
    """Return the days of a file by date, oldest first; torn and foreign lines are passed over."""
    return _read(path, decoder)[0]


def _read(path: Path, decoder: "msgspec.json.Decoder[T]") -> tuple[dict[str, T], int]:
    try:
        lines = read_bytes(path, MOST_BYTES).splitlines()
    except (OSError, UnusableFile):
        return {}, 0
    days: dict[str, T] = {}
    for line in lines:
        try:
            day = decode(decoder, line)
        except UnusableFile:
            continue
        if is_date(day.date):
            days[day.date] = day
    return {name: days[name] for name in sorted(days)}, len(lines)


class DayFile(Generic[T]):
    """For the one process that writes it; what it holds is read once. Raises OSError as the disk gives it."""

    def __init__(self, path: Path, disk: Disk, decoder: "msgspec.json.Decoder[T]") -> None:
        self._path = path
        self._disk = disk
        self.days, self._lines = _read(path, decoder)

    def write(self, days: list[T]) -> None:
        """Make some days durable, in one write; those that say nothing new are left out."""
        fresh = [day for day in days if self.days.get(day.date) != day]
        if not fresh:
            return
        everything = self.days | {day.date: day for day in fresh}
        kept = {name: everything[name] for name in sorted(everything)[-MOST_DAYS:]}
        is_ours = is_regular(self._path) and os.access(self._path, os.R_OK | os.W_OK, effective_ids=True)
        if not is_ours or _size(self._path) > MOST_BYTES // 2 or self._lines + len(fresh) > MOST_LINES:
            self._disk.replace(self._path, _lines_of(list(kept.values())), "days")
            self._lines = len(kept)
        else:
            self._append(_lines_of(fresh))
            self._lines += len(fresh)
        self.days = kept

    def _append(self, data: bytes) -> None:
        existed = self._path.exists()
        with self._path.open("a+b", buffering=0) as file:
            if (size := file.seek(0, 2)) and os.pread(file.fileno(), 1, size - 1) != b"\n":
                data = b"\n" + data
            self._disk.write(file, data, "days.write")
            self._disk.sync(file, "days.sync")
        if not existed:
            self._disk.sync_folder(self._path.parent, "days.sync_folder")


def _lines_of(days: list[T]) -> bytes:
    return b"".join(msgspec.json.encode(day) + b"\n" for day in days)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
