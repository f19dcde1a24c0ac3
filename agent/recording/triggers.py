"""What asks for a recording: always, by the calendar, or a person."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec

from agent.clock import UNSYNCHRONIZED, Instant
from agent.config.schema import NOWHERE, LocationConfig, RecordingConfig
from agent.config.values import sun_moment
from agent.log import get_logger
from agent.recording.asked.requests import ManualRequest
from agent.recording.calendar.lines import Window, stays
from agent.recording.calendar.schedule import Calendar

log = get_logger(__name__)

JUMP_MS = 1000
"""By so much the wall clock has jumped, not drifted."""


class SessionSpec(msgspec.Struct, frozen=True):
    """A session that somebody wants."""

    mode: str
    segment_seconds: int
    """Where a segment is cut."""
    key: object = None
    """Tells one session from the next: another key is another session."""
    is_voiced: bool = False
    """Only what the voice trigger finds is recorded, each stretch in a session of its own."""
    since: float | None = None
    """Since when it is wanted, in unix seconds; None: since it was not wanted last."""


class Trigger(Protocol):
    """Says, at any moment, which session is wanted by configuration."""

    def spec(self) -> SessionSpec | None:
        """Return what is wanted now, or None for nothing."""


class Continuous:
    """Always the same session."""

    def __init__(self, settings: RecordingConfig) -> None:
        self._spec = SessionSpec("continuous", settings.segment_seconds)

    def spec(self) -> SessionSpec | None:
        """Record."""
        return self._spec


class Voice:
    """Always the same session: what the voice trigger finds."""

    def __init__(self, settings: RecordingConfig) -> None:
        self._spec = SessionSpec("voice", settings.segment_seconds, is_voiced=True)

    def spec(self) -> SessionSpec | None:
        """Listen."""
        return self._spec


class OnRequest:
    """Never a session of its own: recordings are started by a person or a command."""

    def spec(self) -> SessionSpec | None:
        """Nothing."""
        return None


class Schedule:
    """The windows of the calendar, asked of the wall clock.

    Whether the present moment lies in a window is computed, not remembered: a start that was missed is joined late,
    and a clock that jumps in either direction costs one evaluation.
    """

    def __init__(
        self,
        settings: RecordingConfig,
        wall: Callable[[], float],
        location: LocationConfig = NOWHERE,
        is_right: Callable[[], bool] = lambda: True,
    ) -> None:
        self._settings = settings
        self._wall = wall
        self._is_right = is_right
        self._location = location
        self._calendar = Calendar(settings.schedule, self._location)
        self._by_sun = [each for each in settings.schedule if any(map(sun_moment, (each.start, each.end)))]
        self._said = ""
        self._same_from = self._same_until = 0
        """Unix seconds within which nothing opens or closes."""
        self._spec: SessionSpec | None = None

    def spec(self) -> SessionSpec | None:
        """Return the session of the first window that is open now.

        While the clock is not right nobody can tell whether the sun shines: windows that go by it are open.
        """
        if self._by_sun and not self._is_right():
            is_voiced = all(window.voice for window in self._by_sun)
            return SessionSpec("schedule", self._settings.segment_seconds, "clock not right", is_voiced)
        second = int(self._wall())
        if not self._same_from <= second < self._same_until:
            moment = datetime.fromtimestamp(second, tz=UTC)
            opening = self._calendar.open_at(moment)
            self._spec = opening and SessionSpec(
                "schedule",
                self._settings.segment_seconds,
                (opening.line, opening.opened_at),
                opening.is_voiced,
                opening.opened_at.timestamp(),
            )
            self._say_what_stays(moment)
            self._same_from = second
            self._same_until = int(self._calendar.next_change(moment).timestamp())
        return self._spec

    def _say_what_stays(self, moment: datetime) -> None:
        """Say once a day that the sun does not rise or set."""
        said = "; ".join(stays(self._settings.schedule, self._location, moment))
        if said != self._said and said:
            log.info(said, action="sun_stays")
        self._said = said

    def wanted_ms(self, start: Instant, end: Instant) -> int | None:
        """Return for how many milliseconds a window was open between two moments of one boot.

        None: they cannot be compared. By a clock that has jumped in between all of it counts.
        """
        if start.boot_id != end.boot_id:
            return None
        length = end.boot_ms - start.boot_ms
        if self._by_sun and start.clock == end.clock == UNSYNCHRONIZED:
            return length
        if abs(end.wall_ms - start.wall_ms - length) > JUMP_MS:
            return length
        since = datetime.fromtimestamp(start.wall_ms / 1000, tz=UTC)
        windows = self.windows_between(since, since + timedelta(milliseconds=length))
        return round(sum((window.end - window.begin).total_seconds() * 1000 for window in windows))

    def windows_between(self, since: datetime, until: datetime) -> list[Window]:
        """Return the stretches between two moments in which a window was open, merged; at most a year back."""
        return self._calendar.between(since, until)


def trigger_for(
    settings: RecordingConfig,
    wall: Callable[[], float],
    location: LocationConfig = NOWHERE,
    is_right: Callable[[], bool] = lambda: True,
) -> Trigger:
    """Return the trigger of ``recording.mode``; ``is_right`` says whether the clock is."""
    if settings.mode == "continuous":
        return Continuous(settings)
    if settings.mode == "voice":
        return Voice(settings)
    return Schedule(settings, wall, location, is_right) if settings.mode == "schedule" else OnRequest()


def wants_voice(settings: RecordingConfig) -> bool:
    """Whether there are times in which only voices are recorded."""
    windows = settings.schedule if settings.mode == "schedule" else ()
    return settings.mode == "voice" or any(window.voice for window in windows)


def manual_session(request: ManualRequest, settings: RecordingConfig) -> SessionSpec:
    """Return the session of a manual recording: one file up to ``max_seconds``, then the next without a gap."""
    return SessionSpec("manual", settings.max_seconds, request)
