"""The windows of a schedule: when they open and close, for any moment, past or future.

What a line of it means is told in ``lines``; the length of a window is elapsed time. Everything here is a function of
the moment that is asked about: nothing is remembered, so that a wall clock may jump as it likes.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from agent.clock import rfc3339
from agent.config.schema import NOWHERE, LocationConfig, RecordingConfig, ScheduleWindow
from agent.recording.calendar.lines import Window, line_of
from agent.status.status_document import WindowStatus

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
LOOK_BACK = timedelta(days=366)
"""No further back are windows counted: what such a search takes has a limit."""
LOOK_AHEAD = timedelta(days=8 * 366)
"""29 February comes at least so often."""


class Opening(NamedTuple):
    """A window that is open."""

    line: str
    """``start`` of the schedule's entry."""
    is_voiced: bool
    """Whether only voices are recorded."""
    opened_at: datetime
    closes_at: datetime


def next_windows(settings: RecordingConfig, location: LocationConfig, unix_seconds: float) -> list[Window]:
    """Return the next three windows of the settings, the one that is open now first; none in another mode."""
    if settings.mode != "schedule":
        return []
    return Calendar(settings.schedule, location).upcoming(datetime.fromtimestamp(int(unix_seconds), tz=UTC))


def windows_shown(windows: Iterable[Window]) -> list[WindowStatus]:
    """Return windows as ``status`` and ``config show`` tell them."""
    return [WindowStatus(_rfc3339(each.begin), _rfc3339(each.end)) for each in windows]


def _rfc3339(moment: datetime) -> str:
    return rfc3339(round(moment.timestamp() * 1000))


class Calendar:
    """All entries of a schedule. Moments are aware datetimes; what is returned is in UTC."""

    def __init__(self, windows: Sequence[ScheduleWindow], location: LocationConfig = NOWHERE) -> None:
        self._lines = [line_of(window, location) for window in windows]

    def open_at(self, moment: datetime) -> Opening | None:
        """Return the window of the first entry that is open at a moment."""
        for line in self._lines:
            begun = line.windows(moment - line.longest, moment + SECOND)
            open_ones = [window for window in begun if window.begin <= moment < window.end]
            if open_ones:
                return Opening(line.start, line.is_voiced, *open_ones[-1])
        return None

    def next_change(self, moment: datetime) -> datetime:
        """Return a moment until which, from the given one on, ``open_at`` gives the same; at most a day later."""
        horizon = moment + DAY
        begins = (
            window.begin
            for line in self._lines
            for window in _first(line.windows(moment + SECOND, horizon), 1)
        )
        opening = self.open_at(moment)
        return min([horizon, *begins, *([opening.closes_at] if opening else [])])

    def between(self, since: datetime, until: datetime) -> list[Window]:
        """Return the time between two moments in which some window was open, merged; at most ``LOOK_BACK`` of it."""
        since = max(since, until - LOOK_BACK)
        if since >= until:
            return []
        found = [
            Window(max(window.begin, since), min(window.end, until))
            for line in self._lines
            for window in line.windows(since - line.longest, until)
            if window.end > since
        ]
        return _merged(found)

    def upcoming(self, moment: datetime, count: int = 3) -> list[Window]:
        """Return the next stretches, the one that is open now first; fewer where there are none for years."""
        for horizon in (timedelta(days=32), timedelta(days=400), LOOK_AHEAD):
            found = [
                window
                for line in self._lines
                for window in _first(
                    (
                        each
                        for each in line.windows(moment - line.longest, moment + horizon)
                        if each.end > moment
                    ),
                    50,
                )
            ]
            stretches = _merged(found)[:count]
            if len(stretches) == count:
                break
        return stretches


def _first(windows: Iterator[Window], count: int) -> Iterator[Window]:
    return (window for window, _ in zip(windows, range(count), strict=False))


def _merged(found: list[Window]) -> list[Window]:
    merged: list[Window] = []
    for begin, end in sorted(found):
        if merged and begin <= merged[-1].end:
            if end > merged[-1].end:
                merged[-1] = Window(merged[-1].begin, end)
        else:
            merged.append(Window(begin, end))
    return merged
