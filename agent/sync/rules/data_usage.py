"""How much crossed the network today, and how much the owner allows (a MB is 1,000,000 bytes).

Every byte of a connection to the API and to storage counts, in both directions, as the kernel counts it above TCP:
heartbeats and TLS too. ``sync.daily_data_limit_mb`` is for metered connections alone, ``sync.daily_total_limit_mb`` for
all. A file is counted before it is sent, the whole of it at once, and what was not sent is taken off again: a crash
counts too much, never too little. The day is that of the machine's zone. A few days are kept, so that a clock that
jumps back and forth finds each again.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from agent.bounds import Count
from agent.disk import Disk
from agent.json_file import JsonFile
from agent.log import Failures, get_logger
from agent.small_file import OF_THE_DISK, UnusableFile
from agent.sync.rules.waits_by_rule import WaitsByRule

log = get_logger(__name__)

FILE = "data-usage.json"
MEGABYTE = 1_000_000
DAYS_KEPT = 3
QUARTER_SECONDS = 900
DATA_LIMIT, TOTAL_LIMIT = "daily data limit", "daily total limit"
UNSAVED_BYTES = MEGABYTE // 2
"""So much a crash can lose of what is no file: heartbeats and the like."""


class Used(msgspec.Struct, frozen=True):
    """Bytes of one day."""

    metered: Count = 0
    total: Count = 0
    recordings: Count = 0
    """How many were begun to be sent."""


DAYS = msgspec.json.Decoder(dict[str, Count | Used])
"""A number is what an earlier version counted of all."""


class DataLimitReached(WaitsByRule):
    """The owner's limit for today leaves no room for the next recording, until the next local midnight."""


class DataUsage:
    """The count; thread-safe. Raises OSError when the whole disk refuses, but for ``add``.

    ``now`` gives the best known unix time in seconds, ``is_metered`` whether the connection in use costs. Limits are in
    MB; 0 is none, and without any nothing is written.
    """

    def __init__(
        self,
        folder: Path,
        disk: Disk,
        limits_mb: tuple[int, int],
        now: Callable[[], float],
        zone: ZoneInfo,
        *,
        is_metered: Callable[[], bool] = lambda: True,
    ) -> None:
        self._file = JsonFile(folder / FILE, DAYS, disk, "data_usage")
        self._metered_limit, self._total_limit = (limit * MEGABYTE for limit in limits_mb)
        self._now = now
        self._zone = zone
        self._is_metered = is_metered
        self._lock = threading.Lock()
        self._days = self._load() if any(limits_mb) else {}
        self._reserved = self._unsaved = 0
        self._failures = Failures(log)
        self._dated: tuple[int, date] | None = None
        """The quarter of an hour that was asked for last, and its date: every zone's midnight is the end of one."""

    def _load(self) -> dict[str, Used]:
        try:
            days = self._file.load()
        except FileNotFoundError:
            return {}
        except UnusableFile:
            log.warning("today's data usage cannot be read and begins at 0", action="data_usage_lost")
            return {}
        return {day: Used(used, used, 1) if isinstance(used, int) else used for day, used in days.items()}

    def used(self) -> Used:
        """Return what counts for today."""
        with self._lock:
            return self._days.get(self._today(), Used())

    def add(self, size: int) -> None:
        """Count bytes that have crossed the network."""
        is_metered = self._is_metered()
        with self._lock:
            self._count(size, is_metered=is_metered)
            self._unsaved += size
            if self._unsaved >= UNSAVED_BYTES and not self._reserved:
                with contextlib.suppress(OSError):
                    self._save()

    def check(self, size: int) -> None:
        """Let a file of ``size`` bytes pass when it fits; one larger than the whole limit has a day to itself.

        Raises:
            DataLimitReached: it has to wait for tomorrow, or for another network.
        """
        used = self.used()
        is_first = not used.recordings
        if self._is_full(used.total, size, self._total_limit, is_first=is_first):
            raise self._reached(TOTAL_LIMIT, used.total, self._total_limit)
        if self._is_metered() and self._is_full(used.metered, size, self._metered_limit, is_first=is_first):
            raise self._reached(DATA_LIMIT, used.metered, self._metered_limit)

    @staticmethod
    def _is_full(used: int, size: int, limit: int, *, is_first: bool) -> bool:
        """Whether a file does not fit; the first of a day that never fits goes all the same."""
        return bool(limit) and used + size > limit and not (is_first and size > limit)

    def _reached(self, which: str, used: int, limit: int) -> DataLimitReached:
        midnight = datetime.combine(self._date() + timedelta(days=1), time.min, self._zone)
        other = ", or on a network that is not metered" if which == DATA_LIMIT else ""
        return DataLimitReached(
            which,
            f"sync.{which.replace(' ', '_')}_mb allows more tomorrow{other}",
            round(midnight.timestamp() * 1000),
            f"the {which} is reached ({used / MEGABYTE:.1f} of {limit // MEGABYTE} MB)",
        )

    @contextlib.contextmanager
    def reserving(self, size: int) -> Iterator[None]:
        """Have a file of ``size`` bytes counted on the disk while it is sent; ``add`` says what was.

        Raises:
            DataLimitReached: there is no room for it.
        """
        self.check(size)
        if not (self._metered_limit or self._total_limit):
            yield
            return
        with self._lock:
            self._count(0, is_metered=False, recordings=1)
            self._reserved = size
            self._save()
        try:
            yield
        finally:
            with self._lock:
                self._reserved = 0
                self._save()

    def _count(self, size: int, *, is_metered: bool, recordings: int = 0) -> None:
        today = self._today()
        used = self._days.pop(today, Used())
        metered = used.metered + (size if is_metered else 0)
        fresh = Used(metered, used.total + size, used.recordings + recordings)
        self._days = dict(list(self._days.items())[1 - DAYS_KEPT :]) | {today: fresh}

    def _save(self) -> None:
        """Write the count with what is reserved, where there is a limit."""
        self._unsaved = 0
        if not (self._metered_limit or self._total_limit):
            return
        days, reserved = dict(self._days), self._reserved
        if reserved:
            today = self._today()
            used = days.pop(today, Used())
            metered = used.metered + (reserved if self._is_metered() else 0)
            days[today] = Used(metered, used.total + reserved, used.recordings)
        try:
            self._file.replace({**days})
        except OSError as error:
            if error.errno in OF_THE_DISK:
                raise
            # Of this file alone: the limit goes on being kept from memory, and delivery goes on.
            self._failures.failed(
                "today's data usage cannot be written, and begins at what was written last after a restart",
                action="data_usage_failed",
                error=error,
            )
        else:
            self._failures.ended()

    def _today(self) -> str:
        return self._date().isoformat()

    def _date(self) -> date:
        now, dated = self._now(), self._dated
        quarter = int(now // QUARTER_SECONDS)
        if dated is None or dated[0] != quarter:
            day = datetime.fromtimestamp(now, tz=UTC).astimezone(self._zone).date()
            dated = self._dated = quarter, day
        return dated[1]
