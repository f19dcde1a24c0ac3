"""The sums of days that have no final line yet: what was recorded on them, and what the gap log says is missing.

``OpenDays`` works on an ``Account``: the recorder's own in memory, or a copy that was read from ``recorder.json`` by
whoever only looks. It writes nothing.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from agent.bounds import MOST_DAYS
from agent.clock import UNSYNCHRONIZED, Instant
from agent.gaps.log import Gap
from agent.recorder.account.earlier import RecordedSpan
from agent.recording.days.dayfile import is_date, newest_before
from agent.recording.days.days import (
    MOST_BOOTS,
    MOST_OPEN,
    MOST_UNDATED,
    Account,
    Day,
    Missing,
    Undated,
    Windows,
    begin_of,
    day_at,
    end_of,
    is_known,
    split,
    summed,
    wall_of,
)
from agent.recording.days.gapsfile import written_since
from agent.timing.known_time import KnownTime


class Rules(NamedTuple):
    """By what days are divided and judged."""

    time: KnownTime
    """What the clock of this boot is worth."""
    zone: ZoneInfo
    """Whose midnight divides days."""
    windows: Windows | None = None
    """When the calendar wanted a recording; None outside of schedule mode."""


class OpenDays:
    """Counts into an account, and sums days up.

    ``lines`` are the days of ``days.jsonl``, ``mode`` is ``recording.mode`` of the run that is summed up.
    """

    def __init__(
        self, folder: Path, account: Account, lines: dict[str, Day], rules: Rules, mode: str | None
    ) -> None:
        self._folder = folder
        self._account = account
        self._lines = lines
        self._time, self._zone, self._windows = rules
        self._mode = mode
        for name in [name for name in account.recorded if not is_date(name)]:
            del account.recorded[name]

    # what was recorded

    def count(self, number: int, part: Undated) -> None:
        """Give a file to its days, or keep it until the clock is right; files in a row are kept as one."""
        account = self._account
        account.counted = max(account.counted, number)
        began = self._time.corrected(part.began)
        if began.clock != UNSYNCHRONIZED:
            self._give(began.wall_ms, part.milliseconds)
            return
        last = account.undated[-1] if account.undated else None
        if last is not None and _follows(began, last):
            last.milliseconds += part.milliseconds
            return
        account.undated.append(part)
        if len(account.undated) > MOST_UNDATED:
            first = account.undated.pop(0)
            self._give(wall_of(first.began, account.boots), first.milliseconds)

    def recount(self, found: list[RecordedSpan], began: Instant, missing: Instant | None = None) -> None:
        """Count the files that are not counted yet, and say since when every second counts if that is not said.

        It is since this run ``began``, or since the first of ``found`` or of what was ``missing`` already, by an
        earlier run that died at once.
        """
        account = self._account
        fresh = [stretch for stretch in found if stretch.number > account.counted]
        if account.since is None:
            moments = [began, *(stretch.began for stretch in fresh), *([missing] if missing else [])]
            account.since = min(moments, key=lambda moment: self._time.corrected(moment).wall_ms)
        for stretch in fresh:
            length = stretch.ended.boot_ms - stretch.began.boot_ms
            self.count(stretch.number, Undated(stretch.began, length))

    def _give(self, begin: int, milliseconds: int) -> None:
        account = self._account
        for day, length in split(begin, begin + milliseconds, self._zone):
            line = self._lines.get(day)
            before = line.files_ms if line is not None else 0
            account.recorded[day] = account.recorded.get(day, before) + length
        for day in sorted(account.recorded)[:-MOST_OPEN]:
            del account.recorded[day]

    def check_clock(self, now: Instant) -> int | None:
        """Date what waited for the clock, and remember the clock of this boot; return since when every second counts.

        Of a boot whose time was never known, what was recorded counts for today, and the time before this boot not.
        """
        account = self._account
        booted = max(0, now.wall_ms - now.boot_ms)
        account.boots.pop(now.boot_id, None)
        account.boots = dict(list(account.boots.items())[1 - MOST_BOOTS :]) | {now.boot_id: booted}
        if account.since is None:
            return None
        if not is_known(account.since, account.boots):
            account.since = msgspec.structs.replace(now, wall_ms=booted, boot_ms=0)
        waiting, account.undated = account.undated, []
        for part in waiting:
            known = is_known(part.began, account.boots)
            begin = wall_of(part.began, account.boots) if known else now.wall_ms - part.milliseconds
            self._give(begin, part.milliseconds)
        return wall_of(account.since, account.boots)

    # which days are to be summed up

    def over(self, since: int, until: int) -> list[date]:
        """Return the days that are over and have no line."""
        first, last = day_at(since, self._zone), day_at(until, self._zone)
        newest = newest_before(self._lines, last)
        if newest is not None:
            first = max(first, newest + timedelta(days=1))
        first = max(first, last - timedelta(days=MOST_DAYS))
        return [first + timedelta(days=number) for number in range((last - first).days)]

    def told_anew(self, size: int) -> set[date]:
        """Return the days that have a line and that the newest lines of the gap log, ``size`` bytes, concern."""
        account, newest = self._account, max(self._lines, default=None)
        if newest is None or account.gaps_read == size:
            return set()
        end = end_of(date.fromisoformat(newest), self._zone)
        times = Missing([], account.boots, self._zone, since=0, until=end)
        told: set[str] = set()
        for gap in written_since(self._folder, account.gaps_read):
            begin, stop = times.interval(gap)
            told.update(day for day, _ in split(begin, min(stop, end), self._zone))
        return {date.fromisoformat(day) for day in told if day in self._lines}

    def counted_anew(self) -> set[date]:
        """Return the days that have a line, but with less recorded."""
        recorded, lines = self._account.recorded.copy(), self._lines
        return {
            date.fromisoformat(day)
            for day, length in recorded.items()
            if day in lines and lines[day].files_ms != length
        }

    # the sums

    def sums(
        self, days: list[date], recorded: dict[str, int], since: int, until: int, more: Iterable[Gap] = ()
    ) -> list[Day]:
        """Return the sums of days, in their order; ``more`` are gaps that stand in no line of the gap log yet."""
        account, zone = self._account, self._zone
        begin, end = begin_of(days[0], zone), end_of(days[-1], zone)
        times = Missing([], account.boots, zone, since=since, until=until)
        gaps: dict[object, Gap] = {}
        for gap in written_since(self._folder, 0):
            start, stop = times.interval(gap)
            if gap.is_open or (start < end and stop > begin):
                gaps[gap.key] = gap
            else:
                gaps.pop(gap.key, None)
        missing = Missing(
            [*gaps.values(), *more], account.boots, zone, since=since, until=until, windows=self._windows
        )
        return [
            summed(
                day,
                self._files_ms(day.isoformat(), recorded),
                missing,
                zone,
                since=since,
                until=until,
                mode=self._mode,
            )
            for day in days
        ]

    def _files_ms(self, day: str, recorded: dict[str, int]) -> int:
        """Return the length of a day's files, from the open sum or from its line."""
        line = self._lines.get(day)
        return recorded.get(day, line.files_ms if line is not None else 0)


def _follows(began: Instant, before: Undated) -> bool:
    """Return whether a file begins where another ended."""
    ended_ms = before.began.boot_ms + before.milliseconds
    return (began.boot_id, began.boot_ms) == (before.began.boot_id, ended_ms)
