"""How much was uploaded today, and how much the owner allows (``sync.daily_data_limit_mb``; a MB is 1,000,000 bytes).

What counts are the bytes of recordings that were tried to be sent, arrived or not. They are counted before they are
sent, the whole file at once, and what was not sent is taken off again: a crash counts too much, never too little. The
day is that of the machine's zone. A few days are kept, so that a clock that jumps back and forth finds each again.
"""

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from agent.bounds import Count
from agent.disk import Disk
from agent.errors import StillWaiting
from agent.log import get_logger
from agent.small_file import UnusableFile, load

log = get_logger(__name__)

FILE = "data-usage.json"
MEGABYTE = 1_000_000
DAYS_KEPT = 3


DAYS = msgspec.json.Decoder(dict[str, Count])


class DataLimitReached(StillWaiting):
    """The owner's limit for today leaves no room for the next recording; ``until_ms`` is the next local midnight."""

    def __init__(self, message: str, until_ms: int) -> None:
        super().__init__(message)
        self.until_ms = until_ms


class DataUsage:
    """The count; for the one thread that uploads. Raises OSError as the disk gives it.

    ``now`` gives the best known unix time in seconds. A limit of 0 is none, and writes nothing.
    """

    def __init__(
        self, folder: Path, disk: Disk, limit_mb: int, now: Callable[[], float], zone: ZoneInfo
    ) -> None:
        self._path = folder / FILE
        self._disk = disk
        self._limit = limit_mb * MEGABYTE
        self._now = now
        self._zone = zone
        self._days = self._load() if limit_mb else {}

    def _load(self) -> dict[str, int]:
        try:
            return load(self._path, DAYS)
        except FileNotFoundError:
            return {}
        except UnusableFile:
            log.warning("today's data usage cannot be read and begins at 0", action="data_usage_lost")
            return {}

    @property
    def limit(self) -> int:
        """Bytes a day; 0 for no limit."""
        return self._limit

    def used(self) -> int:
        """Return how many bytes count for today."""
        return self._days.get(self._today(), 0)

    def check(self, size: int) -> None:
        """Let a file of ``size`` bytes pass when it fits; one larger than the whole limit has a day to itself.

        Raises:
            DataLimitReached: it has to wait for tomorrow.
        """
        used = self.used()
        if not self._limit or used + size <= self._limit or used == 0:
            return
        midnight = datetime.combine(self._date() + timedelta(days=1), time.min, self._zone)
        raise DataLimitReached(
            f"the daily data limit is reached ({used / MEGABYTE:.1f} of {self._limit // MEGABYTE} MB); "
            "sync.daily_data_limit_mb allows more tomorrow",
            round(midnight.timestamp() * 1000),
        )

    @contextlib.contextmanager
    def counting(self, size: int) -> Iterator[Callable[[int], None]]:
        """Count an upload of ``size`` bytes; call what is given with the bytes sent so far.

        Raises:
            DataLimitReached: there is no room for it.
        """
        self.check(size)
        if not self._limit:
            yield lambda _sent: None
            return
        day, sent = self._today(), 0

        def note(so_far: int) -> None:
            nonlocal sent
            sent = so_far

        self._add(day, size)
        try:
            yield note
        finally:
            if sent < size:
                self._add(day, sent - size)

    def _add(self, day: str, size: int) -> None:
        count = max(0, self._days.pop(day, 0) + size)
        self._days = dict(list(self._days.items())[1 - DAYS_KEPT :]) | {day: count}
        self._disk.replace(self._path, msgspec.json.encode(self._days), "data_usage")

    def _today(self) -> str:
        return self._date().isoformat()

    def _date(self) -> date:
        return datetime.fromtimestamp(self._now(), tz=UTC).astimezone(self._zone).date()
