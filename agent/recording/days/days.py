"""Days: how much of each was wanted, recorded, not wanted and missing, and what was delivered; a line of JSON a day.

``days.jsonl`` is the recorder's, ``days-delivery.jsonl`` the deliverer's. A day is one of the machine's zone, from
midnight to midnight: 23 to 25 hours. A line is written when its day is over, and again when more comes to be known of
it: the last line of a date counts. The day that runs is computed from ``recorder.json`` and the gap log alone.

Everything here is a function of what is handed in; all times are unix milliseconds.
"""

import bisect
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from agent.bounds import BootId, Count, DurationMs, Sequence, WallMs
from agent.clock import UNSYNCHRONIZED, Instant
from agent.gaps.log import REMOVED, Cause, Gap

FILE = "days.jsonl"
DELIVERY_FILE = "days-delivery.jsonl"

Name = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$", max_length=10)]
"""A date: ``2026-11-27``."""

MOST_OPEN, MOST_UNDATED, MOST_BOOTS = 40, 50, 8


class Day(msgspec.Struct, frozen=True):
    """What became of the time of one day; its three parts make up the time that the recorder answers for."""

    date: Name
    recorded_ms: DurationMs
    not_wanted_ms: DurationMs = 0
    missing_ms: dict[Cause, DurationMs] = {}
    silence_ms: DurationMs = 0
    """How much of what is missing its files have silence for: their length is this and what was recorded."""

    @property
    def files_ms(self) -> int:
        """The length of its files."""
        return self.recorded_ms + self.silence_ms

    @property
    def wanted_ms(self) -> int:
        """What should have been recorded."""
        return self.recorded_ms + sum(self.missing_ms.values())


class DeliveryDay(msgspec.Struct, frozen=True):
    """What the API confirmed on one day, and what waited when it ended; numbers of recordings and their length."""

    date: Name
    delivered: Count
    delivered_ms: DurationMs
    waiting: Count
    waiting_ms: DurationMs


class Undated(msgspec.Struct):
    """Recorded under a clock that was not right yet."""

    began: Instant
    milliseconds: DurationMs


class Account(msgspec.Struct, omit_defaults=True):
    """What ``recorder.json`` holds of days that have no final line: what was recorded, silence for lost samples too."""

    since: Instant | None = None
    """From when on the recorder answers for every second."""
    counted: Sequence = 0
    """The newest file that is in it."""
    recorded: Annotated[dict[Name, DurationMs], Meta(max_length=2 * MOST_OPEN)] = {}
    """The whole of each day, what its line has included."""
    undated: Annotated[list[Undated], Meta(max_length=2 * MOST_UNDATED)] = []
    boots: Annotated[dict[BootId, WallMs], Meta(max_length=2 * MOST_BOOTS)] = {}
    """When the clock of each boot stood at zero, of those in which that was known."""
    gaps_read: Annotated[int, Meta(ge=0)] = 0
    """Up to which byte of the gap log the lines are in the lines of days that are over."""


# the calendar


def day_at(wall_ms: int, zone: ZoneInfo) -> date:
    """Return the date of a moment."""
    return datetime.fromtimestamp(wall_ms / 1000, tz=UTC).astimezone(zone).date()


def begin_of(day: date, zone: ZoneInfo) -> int:
    """Return when a date begins."""
    return round(datetime.combine(day, time(), zone).timestamp() * 1000)


def end_of(day: date, zone: ZoneInfo) -> int:
    """Return when a date ends: where the next one begins."""
    return begin_of(day + timedelta(days=1), zone)


def split(begin: int, end: int, zone: ZoneInfo) -> Iterator[tuple[str, int]]:
    """Yield the dates of a stretch of time, and how much of it lies in each."""
    day = day_at(begin, zone)
    while begin < end:
        until = min(end, end_of(day, zone))
        if until > begin:
            yield day.isoformat(), until - begin
            begin = until
        day += timedelta(days=1)


# the sum of a day


Windows = Callable[[int, int], list[tuple[int, int]]]
"""Gives the stretches between two moments in which the calendar wanted a recording."""


class Missing:
    """What some gaps took from each day; ``boots`` are those of ``Account``, ``until`` is the end of an open gap."""

    def __init__(
        self,
        gaps: Iterable[Gap],
        boots: dict[str, int],
        zone: ZoneInfo,
        *,
        since: int,
        until: int,
        windows: Windows | None = None,
    ) -> None:
        self._boots, self._zone, self._windows = boots, zone, windows
        self._since, self._until = since, until
        self._days: dict[str, dict[Cause, int]] = {}
        self._inside: dict[str, int] = {}
        gaps = [gap for gap in gaps if gap.cause not in REMOVED]
        dropped = {gap.recording_id for gap in gaps if gap.cause is Cause.TOO_SHORT}
        whole = [gap for gap in gaps if not is_inside(gap)]
        covered = sorted(self.interval(gap) for gap in whole)
        for gap in whole:
            self._add(gap)
        for gap in gaps:
            if is_inside(gap) and gap.recording_id not in dropped:
                begin, end = self.interval(gap)
                if not _covers(covered, begin):
                    self._count(gap.cause, begin, end)
                    for day, length in split(max(begin, since), end, zone):
                        self._inside[day] = self._inside.get(day, 0) + length

    def of(self, day: str) -> dict[Cause, int]:
        """Return what a day misses, by cause; samples that were lost inside of files included."""
        return self._days.get(day, {})

    def inside(self, day: str) -> int:
        """Return how much of that the files of a day hold silence for."""
        return self._inside.get(day, 0)

    def interval(self, gap: Gap) -> tuple[int, int]:
        """Return where a gap begins and ends; unknown lengths are none."""
        start = wall_of(gap.start, self._boots)
        if gap.is_open:
            return start, max(start, self._until)
        if gap.end is None:
            return start, start + (gap.milliseconds or 0)
        end = wall_of(gap.end, self._boots)
        length = gap.milliseconds if gap.milliseconds is not None else max(0, end - start)
        if not is_known(gap.start, self._boots):
            start = end - length
        return start, start + length if abs(end - start - length) <= CLOCKS_MS else max(end, start + length)

    def _add(self, gap: Gap) -> None:
        begin, end = self.interval(gap)
        length = end - begin if gap.milliseconds is None else gap.milliseconds
        if end - begin - length <= CLOCKS_MS:
            self._count(gap.cause, begin, begin + length)
            return
        # The windows of a calendar within an absence: the line has the sum of them.
        for start, stop in self._windows(begin, end) if self._windows is not None else [(begin, end)]:
            part = min(stop - start, length)
            self._count(gap.cause, start, start + part)
            length -= part
        if length > 0:
            self._count(gap.cause, end - length, end)

    def _count(self, cause: Cause, begin: int, end: int) -> None:
        for day, length in split(max(begin, self._since), end, self._zone):
            causes = self._days.setdefault(day, {})
            causes[cause] = causes.get(cause, 0) + length


CLOCKS_MS = 2000
"""By so much may the ends of a gap be further apart than it is long: two clocks, each read twice."""
SLOW_MS = 60_000
"""So far may a day's samples be from its clock: without a pause in which nothing was wanted they are one."""


def is_inside(gap: Gap) -> bool:
    """Whether a file has silence in the place of what is missing."""
    return gap.cause is Cause.OVERFLOW and gap.recording_id is not None


def wall_of(instant: Instant, boots: dict[str, int]) -> int:
    """Return the unix time of a moment, as well as it is known."""
    known = instant.clock == UNSYNCHRONIZED and instant.boot_id in boots
    return boots[instant.boot_id] + instant.boot_ms if known else instant.wall_ms


def is_known(instant: Instant, boots: dict[str, int]) -> bool:
    """Return whether the clock of a moment was right, or is known by now."""
    return instant.clock != UNSYNCHRONIZED or instant.boot_id in boots


def _covers(intervals: list[tuple[int, int]], moment: int) -> bool:
    at = bisect.bisect_right(intervals, (moment, 1 << 62)) - 1
    return at >= 0 and intervals[at][0] <= moment < intervals[at][1]


def summed(
    day: date, recorded: int, missing: Missing, zone: ZoneInfo, *, since: int, until: int, mode: str | None
) -> Day:
    """Return the sum of a day of which all is known up to ``until``.

    ``recorded``: the length of its files. ``mode``: ``recording.mode``; in continuous mode nothing is unwanted, and
    what is left then is the difference between the clock of the microphone and the machine's.
    """
    name = day.isoformat()
    elapsed = max(0, min(end_of(day, zone), until) - max(begin_of(day, zone), since))
    causes, silence = missing.of(name), min(recorded, missing.inside(name))
    left = max(0, elapsed - recorded - sum(causes.values()) + silence)
    if mode == "continuous" and left <= SLOW_MS:
        left = 0
    return Day(name, recorded - silence, left, {cause: causes[cause] for cause in sorted(causes)}, silence)
