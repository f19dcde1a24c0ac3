"""The windows of a schedule: when they open and close, for any moment, past or future.

The rule is cron's, in a zone whose clock jumps twice a year. A line with a fixed hour that the clock skips runs right
after the jump, and one that comes twice runs once, the first time. A line whose hour is ``*`` or has a step goes by
elapsed time: it runs in every hour that there is. The length of a window is elapsed time.

Which dates a line means is APScheduler's to say; it is asked in UTC, on a calendar without jumps, because its
arithmetic in a zone loops and doubles at them. Everything here is a function of the moment that is asked about:
nothing is remembered, so that a wall clock may jump as it likes.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from agent.config.schema import RecordingConfig, ScheduleWindow, expand_cron
from agent.zone import zone

DAY = timedelta(days=1)
LOOK_BACK = timedelta(days=366)
"""No further back are windows counted: what such a search takes has a limit."""
LOOK_AHEAD = timedelta(days=8 * 366)
"""29 February comes at least so often."""
_MINUTES_A_DAY = 1440


class Opening(NamedTuple):
    """A window that is open."""

    line: str
    """``start`` of the schedule's entry."""
    is_voiced: bool
    """Whether only voices are recorded."""
    opened_at: datetime
    closes_at: datetime


class Stretch(NamedTuple):
    """A time in which some window is open, in UTC."""

    begin: datetime
    end: datetime


def next_windows(settings: RecordingConfig, unix_seconds: float) -> list[Stretch]:
    """Return the next three windows of the settings, the one that is open now first; none in another mode."""
    if settings.mode != "schedule":
        return []
    return Calendar(settings.schedule).upcoming(datetime.fromtimestamp(int(unix_seconds), tz=UTC))


class Line:
    """One entry of ``recording.schedule``."""

    def __init__(self, window: ScheduleWindow) -> None:
        from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415 - 4 MiB that only this mode needs

        self.start = window.start
        self.is_voiced = window.voice
        self.length = timedelta(minutes=window.minutes)
        self._zone = zone(window.timezone)
        hour = window.start.split()[1]
        self._by_elapsed_time = "*" in hour or "/" in hour
        crontabs = [crontab.split() for crontab in expand_cron(window.start)]
        minutes, hours = (_numbers(field, most) for field, most in zip(crontabs[0], (60, 24), strict=False))
        self._times = sorted(hour * 60 + minute for hour in hours for minute in minutes)
        self._time_set = frozenset(self._times)
        self._dates = [
            CronTrigger(day=day, month=month, day_of_week=weekday, hour=0, minute=0, second=0, timezone=UTC)
            for _, _, day, month, weekday in crontabs
        ]

    def starts(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the moments at which a window opens, from ``since`` to before ``until``, in order; all in UTC."""
        # A start that is skipped is moved to the end of the jump, which may be on the next date.
        first = (since.astimezone(self._zone) - DAY).date()
        last = until.astimezone(self._zone).date()
        found: datetime | None = None
        for day in self._days(first, last):
            for moment in self._starts_on(day):
                if since <= moment < until and moment != found:
                    found = moment
                    yield moment

    def _days(self, first: date, last: date) -> Iterator[date]:
        """Yield the dates of the line, both ends included."""
        day = first
        while True:
            asked = datetime.combine(day, time(), UTC)
            answers = [trigger.get_next_fire_time(None, asked) for trigger in self._dates]
            moments = [answer.date() for answer in answers if answer is not None]
            if not moments or (day := min(moments)) > last:
                return
            yield day
            day += DAY

    def _starts_on(self, day: date) -> list[datetime]:
        """Return the starts of a local date, in order."""
        midnight = datetime.combine(day, time())
        offset = self._constant_offset(midnight)
        if offset is not None:
            base = (midnight - offset).replace(tzinfo=UTC)
            return [base + timedelta(minutes=minute) for minute in self._times]
        if not self._by_elapsed_time:
            return sorted({self._to_utc(midnight + timedelta(minutes=minute)) for minute in self._times})
        return list(self._minutes_that_match(day))

    def _constant_offset(self, midnight: datetime) -> timedelta | None:
        """Return the offset from UTC of a whole local date, None when the clock jumps on it."""
        moments = [midnight + timedelta(hours=hours) for hours in range(0, 25, 3)]
        offsets = {
            moment.replace(tzinfo=self._zone, fold=fold).utcoffset() for moment in moments for fold in (0, 1)
        }
        return offsets.pop() if len(offsets) == 1 else None

    def _to_utc(self, local: datetime) -> datetime:
        """Return when a local time is: the first where it comes twice, the end of the jump where it never comes."""
        moment = local.replace(tzinfo=self._zone).astimezone(UTC)
        if moment.astimezone(self._zone).replace(tzinfo=None) == local:
            return moment
        after = local.replace(tzinfo=self._zone, fold=1).astimezone(UTC)
        low, high = min(moment, after), max(moment, after)
        offset = low.astimezone(self._zone).utcoffset()
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) // 2
            middle = middle.replace(microsecond=0)
            if middle <= low:
                break
            if middle.astimezone(self._zone).utcoffset() == offset:
                low = middle
            else:
                high = middle
        return high

    def _minutes_that_match(self, day: date) -> Iterator[datetime]:
        """Yield each minute there is of a local date whose local time the line names; offsets are whole minutes."""
        moment = datetime.combine(day, time(), UTC) - timedelta(hours=27)
        for _ in range(_MINUTES_A_DAY + 2 * 27 * 60):
            local = moment.astimezone(self._zone)
            if local.date() == day and local.second == 0 and local.hour * 60 + local.minute in self._time_set:
                yield moment
            moment += timedelta(minutes=1)


class Calendar:
    """All entries of a schedule. Moments are aware datetimes; what is returned is in UTC."""

    def __init__(self, windows: Sequence[ScheduleWindow]) -> None:
        self._lines = [Line(window) for window in windows]

    def open_at(self, moment: datetime) -> Opening | None:
        """Return the window of the first entry that is open at a moment."""
        second = timedelta(seconds=1)
        for line in self._lines:
            opened_at = max(line.starts(moment - line.length + second, moment + second), default=None)
            if opened_at is not None:
                return Opening(line.start, line.is_voiced, opened_at, opened_at + line.length)
        return None

    def next_change(self, moment: datetime) -> datetime:
        """Return a moment until which, from the given one on, ``open_at`` gives the same; at most a day later."""
        horizon = moment + DAY
        starts = (next(line.starts(moment + timedelta(seconds=1), horizon), horizon) for line in self._lines)
        opening = self.open_at(moment)
        return min([horizon, *starts, *([opening.closes_at] if opening else [])])

    def between(self, since: datetime, until: datetime) -> list[Stretch]:
        """Return the time between two moments in which some window was open, merged; at most ``LOOK_BACK`` of it."""
        since = max(since, until - LOOK_BACK)
        if since >= until:
            return []
        found = [
            (max(start, since), min(start + line.length, until))
            for line in self._lines
            for start in line.starts(since - line.length + timedelta(microseconds=1), until)
        ]
        return _merged(found)

    def upcoming(self, moment: datetime, count: int = 3) -> list[Stretch]:
        """Return the next stretches, the one that is open now first; fewer where there are none for years."""
        for horizon in (timedelta(days=32), timedelta(days=400), LOOK_AHEAD):
            found = [
                (start, start + line.length)
                for line in self._lines
                for start in _first(
                    line.starts(moment - line.length + timedelta(seconds=1), moment + horizon), 50
                )
            ]
            stretches = _merged(found)[:count]
            if len(stretches) == count:
                break
        return stretches


def _first(starts: Iterator[datetime], count: int) -> Iterator[datetime]:
    return (start for start, _ in zip(starts, range(count), strict=False))


def _merged(found: list[tuple[datetime, datetime]]) -> list[Stretch]:
    merged: list[Stretch] = []
    for begin, end in sorted(found):
        if merged and begin <= merged[-1].end:
            if end > merged[-1].end:
                merged[-1] = Stretch(merged[-1].begin, end)
        else:
            merged.append(Stretch(begin, end))
    return merged


def _numbers(field: str, most: int) -> list[int]:
    return list(range(most)) if field == "*" else [int(number) for number in field.split(",")]
