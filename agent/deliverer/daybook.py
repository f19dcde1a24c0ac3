"""The line of a day in ``days-delivery.jsonl`` when it is over: what was delivered, and what waited at its end."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from agent.bounds import MOST_DAYS
from agent.clock import UNSYNCHRONIZED, Instant
from agent.disk import Disk
from agent.index.table.deliveries import Deliveries
from agent.recording.days.dayfile import DayFile, newest_before
from agent.recording.days.days import DELIVERY_FILE, DeliveryDay, begin_of, day_at, end_of

DELIVERY_DAY = msgspec.json.Decoder(DeliveryDay)
KEPT_DAYS = 2
"""So many days beside those that have no line the index keeps what was delivered when."""
DAY_MS = 86_400_000


class DeliveryDayBook:
    """Writes the days that are over; for one thread, and not before files and index have been brought together."""

    def __init__(
        self,
        folder: Path,
        disk: Disk,
        deliveries: Callable[[], Deliveries],
        now: Callable[[], Instant],
        zone: ZoneInfo,
    ) -> None:
        self._file = DayFile(folder / DELIVERY_FILE, disk, DELIVERY_DAY)
        self._deliveries = deliveries
        self._now = now
        self._zone = zone
        self._looked: date | None = None

    def close(self) -> None:
        """Write the lines of days that are over; nothing while the clock is wrong.

        Raises OSError and sqlite3.Error as disk and SQLite give them; the next call tries again.
        """
        now = self._now()
        if now.clock == UNSYNCHRONIZED:
            return
        today = day_at(now.wall_ms, self._zone)
        if self._looked == today:
            return
        newest = newest_before(self._file.days, today)
        first = newest + timedelta(days=1) if newest is not None else today - timedelta(days=1)
        first = max(first, today - timedelta(days=MOST_DAYS))
        days = [first + timedelta(days=number) for number in range((today - first).days)]
        self._file.write([self._sum(day) for day in days])
        if days:
            kept = begin_of(today - timedelta(days=KEPT_DAYS), self._zone)
            self._deliveries().forget(kept, now.wall_ms + DAY_MS)
        self._looked = today

    def _sum(self, day: date) -> DeliveryDay:
        return delivered_on(self._deliveries(), day, self._zone)


def delivered_on(deliveries: Deliveries, day: date, zone: ZoneInfo) -> DeliveryDay:
    """Return what was delivered on a day, and what waits at its end, or now; sqlite3.Error as SQLite gives it."""
    begin, end = begin_of(day, zone), end_of(day, zone)
    delivered, waiting = deliveries.between(begin, end), deliveries.waiting_at(end)
    return DeliveryDay(
        day.isoformat(),
        delivered.recordings,
        delivered.milliseconds,
        waiting.recordings,
        waiting.milliseconds,
    )
