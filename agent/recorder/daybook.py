"""What was recorded on each day, summed up file by file, and the line of a day in ``days.jsonl`` when it is over.

The sum of the days that are open is part of ``recorder.json``: it is durable with the writes that each file has
anyway. A kill between a file and that write is made good at the next start, from the file itself. What is missing
stands in the gap log alone, and is read from there when a day is over: both say the same. A line of the gap log that
tells something new of a day that is over (an absence that the calendar could not judge yet) gives it a new line.
"""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from agent.clock import UNSYNCHRONIZED, Instant
from agent.disk import Disk
from agent.recorder.earlier import Stretch
from agent.recorder.memory import Memory
from agent.recording.dayfile import MOST_DAYS, DayFile
from agent.recording.days import (
    FILE,
    MOST_BOOTS,
    MOST_OPEN,
    MOST_UNDATED,
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
from agent.recording.gapsfile import end_of_ledger, written_since
from agent.recording.triggers import Schedule
from agent.timing.known_time import KnownTime

if TYPE_CHECKING:
    from agent.gaps.log import Gap

DAY_DECODER = msgspec.json.Decoder(Day)
SETTLED_MS = 60_000
"""So long after its end a day is over: a file that began before is known as the open one by then."""
BELIEVED_MS = 86_400_000
"""A clock that nobody has set for a day of one boot is taken as it is: there is no better one."""


class DayBook:
    """One for the recorder's process; ``add`` is the recording thread's, ``close`` may run in another.

    Args:
        folder: the state directory.
        disk: makes lines durable.
        memory: holds what was recorded on open days.
        time: what the clock of this boot is worth.
        zone: whose midnight divides days.
        windows: when the calendar wanted a recording; None outside of schedule mode.
    """

    def __init__(
        self,
        folder: Path,
        disk: Disk,
        memory: Memory,
        time: KnownTime,
        zone: ZoneInfo,
        windows: Windows | None = None,
    ) -> None:
        self._folder = folder
        self._memory = memory
        self._time = time
        self._zone = zone
        self._windows = windows
        self._file = DayFile(folder / FILE, disk, DAY_DECODER)

    @property
    def days(self) -> dict[str, Day]:
        """The days that have a line, by date."""
        return self._file.days

    # what was recorded

    def add(self, number: int, began: Instant, milliseconds: int) -> None:
        """Count a file of the recorder's; durable with the next write of ``recorder.json``."""
        with self._memory.changing:
            account = self._memory.account
            account.since = account.since or began
            self._count(number, Undated(began, milliseconds))

    def recount(self, found: list[Stretch], began: Instant, missing: Instant | None = None) -> None:
        """Count what an earlier run had no time to count; to be called before a run remembers anything.

        The first call ever says since when every second counts: since this run ``began``, or since the first of
        ``found`` or of what was ``missing`` already, by an earlier run that died at once.
        """
        with self._memory.changing:
            account = self._memory.account
            fresh = [stretch for stretch in found if stretch.number > account.counted]
            if account.since is None:
                moments = [began, *(stretch.began for stretch in fresh), *([missing] if missing else [])]
                account.since = min(moments, key=lambda moment: self._time.corrected(moment).wall_ms)
            for stretch in fresh:
                length = stretch.ended.boot_ms - stretch.began.boot_ms
                self._count(stretch.number, Undated(stretch.began, length))

    def _count(self, number: int, part: Undated) -> None:
        """Give a file to its days, or keep it until the clock is right; files in a row are kept as one."""
        account = self._memory.account
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

    def _give(self, begin: int, milliseconds: int) -> None:
        account = self._memory.account
        for day, length in split(begin, begin + milliseconds, self._zone):
            line = self._file.days.get(day)
            before = line.files_ms if line is not None else 0
            account.recorded[day] = account.recorded.get(day, before) + length
        for day in sorted(account.recorded)[:-MOST_OPEN]:
            del account.recorded[day]

    # days that are over

    def close(self, now: Instant, *, is_recording: bool) -> None:
        """Write the lines of days that are over, and anew those of which more is known; none while the clock is wrong.

        ``is_recording``: whether a file is open; all is known up to its first sample then. Raises OSError as the disk
        gives it; the next call tries again.
        """
        if now.clock == UNSYNCHRONIZED and now.boot_ms < BELIEVED_MS:
            return
        since = self._look_at_clock(now)
        if since is None:
            return
        until = now.wall_ms - SETTLED_MS
        if is_recording and (open_since := self._memory.until) is not None:
            until = min(until, self._time.corrected(open_since).wall_ms)
        size = end_of_ledger(self._folder).size
        days = {*self._over(since, until), *self._told_anew(size), *self._counted_anew()}
        if days:
            # A line from what a kill could take from recorder.json would have it counted again.
            recorded = self._memory.keep_account()
            if recorded is None:
                return
            self._file.write(self._sums(sorted(days), recorded, since, until))
        with self._memory.changing:
            account = self._memory.account
            account.gaps_read = size
            final = self._file.days
            account.recorded = {
                day: length
                for day, length in account.recorded.items()
                if day not in final or final[day].files_ms != length
            }

    def _look_at_clock(self, now: Instant) -> int | None:
        """Date what waited for the clock, and remember the clock of this boot; return since when every second counts.

        Of a boot whose time was never known, what was recorded counts for today, and the time before this boot not.
        """
        with self._memory.changing:
            account = self._memory.account
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

    def _over(self, since: int, until: int) -> list[date]:
        """Return the days that are over and have no line."""
        newest = self._file.newest
        first, last = day_at(since, self._zone), day_at(until, self._zone)
        if newest is not None:
            first = max(first, date.fromisoformat(newest) + timedelta(days=1))
        first = max(first, last - timedelta(days=MOST_DAYS))
        return [first + timedelta(days=number) for number in range((last - first).days)]

    def _told_anew(self, size: int) -> set[date]:
        """Return the days that have a line and that the newest lines of the gap log concern."""
        account, newest = self._memory.account, self._file.newest
        if newest is None or account.gaps_read == size:
            return set()
        end = end_of(date.fromisoformat(newest), self._zone)
        times = Missing([], account.boots, self._zone, since=0, until=end)
        told: set[str] = set()
        for gap in written_since(self._folder, account.gaps_read):
            begin, stop = times.interval(gap)
            told.update(day for day, _ in split(begin, min(stop, end), self._zone))
        return {date.fromisoformat(day) for day in told if day in self._file.days}

    def _counted_anew(self) -> set[date]:
        """Return the days that have a line, but with less recorded."""
        final = self._file.days
        recorded = self._memory.account.recorded.copy()
        return {
            date.fromisoformat(day)
            for day, length in recorded.items()
            if day in final and final[day].files_ms != length
        }

    def _sums(self, days: list[date], recorded: dict[str, int], since: int, until: int) -> list[Day]:
        account, zone = self._memory.account, self._zone
        begin, end = begin_of(days[0], zone), end_of(days[-1], zone)
        times = Missing([], account.boots, zone, since=since, until=until)
        gaps: dict[object, Gap] = {}
        for gap in written_since(self._folder, 0):
            start, stop = times.interval(gap)
            if gap.is_open or (start < end and stop > begin):
                gaps[gap.key] = gap
            else:
                gaps.pop(gap.key, None)
        missing = Missing(gaps.values(), account.boots, zone, since=since, until=until, windows=self._windows)
        return [
            summed(
                day,
                self._files_ms(day.isoformat(), recorded),
                missing,
                zone,
                since=since,
                until=until,
                mode=self._memory.mode,
            )
            for day in days
        ]

    def _files_ms(self, day: str, recorded: dict[str, int]) -> int:
        """Return the length of a day's files, from the open sum or from its line."""
        line = self._file.days.get(day)
        return recorded.get(day, line.files_ms if line is not None else 0)


def _follows(began: Instant, before: Undated) -> bool:
    """Return whether a file begins where another ended."""
    ended_ms = before.began.boot_ms + before.milliseconds
    return (began.boot_id, began.boot_ms) == (before.began.boot_id, ended_ms)


def windows_of(schedule: Schedule) -> Windows:
    """Return the windows of a schedule in unix milliseconds."""

    def windows(begin: int, end: int) -> list[tuple[int, int]]:
        found = schedule.windows_between(_moment(begin), _moment(end))
        return [(round(each.begin.timestamp() * 1000), round(each.end.timestamp() * 1000)) for each in found]

    return windows


def _moment(wall_ms: int) -> datetime:
    return datetime.fromtimestamp(wall_ms / 1000, tz=UTC)
