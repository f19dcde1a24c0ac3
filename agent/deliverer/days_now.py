"""What was delivered on the newest days, the day that runs included; read, and never written."""

import sqlite3
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from agent.deliverer.daybook import DELIVERY_DAY, delivered_on
from agent.index.reading import Recordings
from agent.recording.days.dayfile import newest_before, read_days
from agent.recording.days.days import DELIVERY_FILE, DeliveryDay, day_at

Json = dict[str, Any]


def delivered_now(recordings: Recordings, zone: ZoneInfo, now_ms: int, count: int) -> list[Json]:
    """Return the newest ``count`` days as ``DeliveryDay`` has them, oldest first; ``now_ms`` is unix time.

    A day that has no line comes from the index; what it holds no row of yet waits today. Without an index the days that
    have a line are all there is.
    """
    lines = read_days(recordings.files.root / DELIVERY_FILE, DELIVERY_DAY)
    today = day_at(now_ms, zone)
    newest = newest_before(lines, today) or today - timedelta(days=1)
    days = [today - timedelta(days=number) for number in range(count)]
    rows = {day.isoformat(): lines[day.isoformat()] for day in days if day.isoformat() in lines}
    if recordings.store is not None:
        try:
            deliveries = recordings.store.deliveries()
            rows |= {day.isoformat(): delivered_on(deliveries, day, zone) for day in days if day > newest}
        except sqlite3.Error:  # an index of an earlier version, or one that is damaged
            pass
    if (row := rows.get(today.isoformat())) is not None:
        rows[row.date] = _with_unknown(row, recordings)
    return [msgspec.to_builtins(rows[name]) for name in sorted(rows)]


def _with_unknown(row: DeliveryDay, recordings: Recordings) -> DeliveryDay:
    """Return a day with what waits and has no row yet."""
    lengths = [entry.duration_ms for entry in recordings.unknown()]
    return msgspec.structs.replace(
        row, waiting=row.waiting + len(lengths), waiting_ms=row.waiting_ms + sum(lengths)
    )
