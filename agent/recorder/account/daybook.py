"""What was recorded on each day, summed up file by file, and the line of a day in ``days.jsonl`` when it is over.

The sum of the days that are open is part of ``recorder.json``: it is durable with the writes that each file has
anyway. A kill between a file and that write is made good at the next start, from the file itself. What is missing
stands in the gap log alone, and is read from there when a day is over: both say the same. A line of the gap log that
tells something new of a day that is over (an absence that the calendar could not judge yet) gives it a new line.
"""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from agent.clock import UNSYNCHRONIZED, Instant
from agent.disk import Disk
from agent.recorder.account.earlier import RecordedSpan
from agent.recorder.account.memory import Memory
from agent.recorder.account.open_days import OpenDays, Rules
from agent.recording.days.dayfile import DayFile
from agent.recording.days.days import FILE, Day, Undated, Windows
from agent.recording.days.gapsfile import end_of_gap_log
from agent.recording.triggers import Schedule
from agent.timing.known_time import KnownTime

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
        self._rules = Rules(time, zone, windows)
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
            self._open.count(number, Undated(began, milliseconds))

    def recount(self, found: list[RecordedSpan], began: Instant, missing: Instant | None = None) -> None:
        """Count what an earlier run had no time to count; to be called before a run remembers anything.

        The first call ever says since when every second counts (``OpenDays.recount``).
        """
        with self._memory.changing:
            self._open.recount(found, began, missing)

    # days that are over

    def close(self, now: Instant, *, is_recording: bool) -> None:
        """Write the lines of days that are over, and anew those of which more is known; none while the clock is wrong.

        ``is_recording``: whether a file is open; all is known up to its first sample then. Raises OSError as the disk
        gives it; the next call tries again.
        """
        if now.clock == UNSYNCHRONIZED and now.boot_ms < BELIEVED_MS:
            return
        with self._memory.changing:
            since = self._open.check_clock(now)
        if since is None:
            return
        until = now.wall_ms - SETTLED_MS
        if is_recording and (open_since := self._memory.until) is not None:
            until = min(until, self._rules.time.corrected(open_since).wall_ms)
        size = end_of_gap_log(self._folder).size
        days = {*self._open.over(since, until), *self._open.told_anew(size), *self._open.counted_anew()}
        if days:
            # A line from what a kill could take from recorder.json would have it counted again.
            recorded = self._memory.keep_account()
            if recorded is None:
                return
            self._file.write(self._open.sums(sorted(days), recorded, since, until))
        with self._memory.changing:
            account = self._memory.account
            account.gaps_read = size
            final = self._file.days
            account.recorded = {
                day: length
                for day, length in account.recorded.items()
                if day not in final or final[day].files_ms != length
            }

    @property
    def _open(self) -> OpenDays:
        memory = self._memory
        return OpenDays(self._folder, memory.account, self._file.days, self._rules, memory.mode)


def windows_of(schedule: Schedule) -> Windows:
    """Return the windows of a schedule in unix milliseconds."""

    def windows(begin: int, end: int) -> list[tuple[int, int]]:
        found = schedule.windows_between(_moment(begin), _moment(end))
        return [(round(each.begin.timestamp() * 1000), round(each.end.timestamp() * 1000)) for each in found]

    return windows


def _moment(wall_ms: int) -> datetime:
    return datetime.fromtimestamp(wall_ms / 1000, tz=UTC)
