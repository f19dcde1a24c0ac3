"""The lines of ``recording.schedule``: each gives windows, for any stretch of time, past or future.

A window begins by cron's rule (``cron_line``) or by the sun, and ends after its minutes or by the sun. On a day without
sunrise or sunset what lies between the two is the whole solar day, while the sun stays up (from sunrise to sunset) or
down (from sunset to sunrise), else nothing; a window that ends by a sunset which does not come ends at midnight by the
sun. With a duty cycle a window is many, one each ``every_minutes``.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple, Protocol

from agent.config.schema import LocationConfig, ScheduleWindow
from agent.config.values import SunMoment, sun_moment
from agent.recording.calendar.cron_line import CronStarts
from agent.recording.calendar.sun import RISING, Sun

DAY = timedelta(days=1)


class Window(NamedTuple):
    """A time in which some window is open, in UTC."""

    begin: datetime
    end: datetime


class Line(Protocol):
    """One entry of the schedule."""

    start: str
    """``start`` of the schedule's entry."""
    is_voiced: bool
    """Whether only voices are recorded in it."""
    longest: timedelta
    """No window is longer."""

    def windows(self, since: datetime, until: datetime) -> Iterator[Window]:
        """Yield the windows that begin from ``since`` to before ``until``, in order; all in UTC."""


def line_of(window: ScheduleWindow, location: LocationConfig) -> Line:
    """Return the line that an entry of the settings means."""
    end = SunEnd(window.end, location) if window.end else None
    is_crons = sun_moment(window.start) is None
    line: Line = _CronLine(window, end) if is_crons else _SunLine(window, location, end)
    return _Duty(line, window) if window.every_minutes else line


class SunEnd:
    """The end of windows by the sun."""

    def __init__(self, text: str, location: LocationConfig) -> None:
        self.moment = _moment_of(text)
        self._sun = Sun(location.latitude, location.longitude)

    def after(self, begin: datetime) -> datetime | None:
        """Return the first such moment after a window's begin; None where there is nothing for it to last to."""
        name = self.moment.name
        first = self._sun.day_of(begin) - DAY
        for day in (first + number * DAY for number in range(4)):
            at = self._sun.at(name, day)
            if at is not None:
                at += self.moment.offset
            elif name in RISING:
                at = self._sun.noon(day)
            else:
                at = self._sun.midnight(day + DAY)
            if at > begin:
                stays = self._sun.at(name, day) is None
                return None if stays and self._sun.is_up(name, day) == (name in RISING) else at
        return None


class _CronLine:
    def __init__(self, window: ScheduleWindow, end: SunEnd | None) -> None:
        self.start, self.is_voiced = window.start, window.voice
        self.longest = timedelta(minutes=window.minutes or 0) if end is None else 3 * DAY
        self._starts = CronStarts(window)
        self._end = end

    def windows(self, since: datetime, until: datetime) -> Iterator[Window]:
        for begin in self._starts.starts(since, until):
            end = begin + self.longest if self._end is None else self._end.after(begin)
            if end is not None:
                yield Window(begin, end)


class _SunLine:
    def __init__(self, window: ScheduleWindow, location: LocationConfig, end: SunEnd | None) -> None:
        self.start, self.is_voiced = window.start, window.voice
        self.longest = timedelta(minutes=window.minutes or 0) if end is None else 3 * DAY
        self._moment = _moment_of(window.start)
        self._sun = Sun(location.latitude, location.longitude)
        self._end = end

    def windows(self, since: datetime, until: datetime) -> Iterator[Window]:
        first, last = self._sun.day_of(since) - DAY, self._sun.day_of(until) + DAY
        found = (self._of(first + number * DAY) for number in range((last - first).days + 1))
        for window in sorted({window for window in found if window is not None}):
            if since <= window.begin < until:
                yield window

    def _of(self, day: date) -> Window | None:
        """Return the window of a solar day."""
        begin = self._sun.at(self._moment.name, day)
        if begin is not None:
            begin += self._moment.offset
        else:
            begin = self._begin_of_a_whole_day(day)
        if begin is None:
            return None
        end = begin + self.longest if self._end is None else self._end.after(begin)
        return None if end is None else Window(begin, end)

    def _begin_of_a_whole_day(self, day: date) -> datetime | None:
        """Return where a window begins on a day on which the sun stays where the window wants it."""
        name, end = self._moment.name, self._end
        if end is None or (name in RISING) == (end.moment.name in RISING):
            return None
        if self._sun.is_up(name, day) != (name in RISING):
            return None
        return self._sun.midnight(day) if name in RISING else self._sun.noon(day)


class _Duty:
    """``record_minutes`` of each ``every_minutes``, from the begin of the window on."""

    def __init__(self, line: Line, window: ScheduleWindow) -> None:
        self.start, self.is_voiced = line.start, line.is_voiced
        self.longest = timedelta(minutes=window.record_minutes or 0)
        self._line = line
        self._every = timedelta(minutes=window.every_minutes or 0)

    def windows(self, since: datetime, until: datetime) -> Iterator[Window]:
        for window in self._line.windows(since - self._line.longest, until):
            first = max(0, -((window.begin - since) // self._every)) if window.begin < since else 0
            begin = window.begin + first * self._every
            while begin < min(window.end, until):
                if begin >= since:
                    yield Window(begin, min(begin + self.longest, window.end))
                begin += self._every


def stays(windows: tuple[ScheduleWindow, ...], location: LocationConfig, moment: datetime) -> list[str]:
    """Return the sun's moments of a schedule that do not come on the solar day of a moment, as sentences."""
    named = {
        found.name for window in windows for text in (window.start, window.end) if (found := sun_moment(text))
    }
    if not named:
        return []
    sun = Sun(location.latitude, location.longitude)
    day = sun.day_of(moment.astimezone(UTC))
    return [
        f"there is no {name} on {day}: the sun stays {'up' if sun.is_up(name, day) else 'down'}"
        for name in sorted(named)
        if sun.at(name, day) is None
    ]


def _moment_of(text: str) -> SunMoment:
    found = sun_moment(text)
    if found is None:
        raise ValueError(f"{text!r} is no moment of the sun")
    return found
