"""What asks for a recording: always, by the calendar, or a person."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from agent.config.schema import RecordingConfig
from agent.recording.requests import ManualRequest
from agent.recording.schedule import Calendar, Stretch


@dataclass(frozen=True)
class SessionSpec:
    """A session that somebody wants."""

    mode: str
    segment_seconds: int
    """Where a segment is cut."""
    key: object = None
    """Tells one wish from the next: another key is another session."""
    since: float | None = None
    """Since when it is wanted, in unix seconds; None: since it was not wanted last."""


class Trigger(Protocol):
    """Says, at any moment, which session is wanted by configuration."""

    def wish(self) -> SessionSpec | None:
        """Return what is wanted now, or None for nothing."""


class Continuous:
    """Always the same wish."""

    def __init__(self, settings: RecordingConfig) -> None:
        self._wish = SessionSpec("continuous", settings.segment_seconds)

    def wish(self) -> SessionSpec | None:
        """Record."""
        return self._wish


class OnRequest:
    """Never a wish of its own: recordings are started by a person or a command."""

    def wish(self) -> SessionSpec | None:
        """Nothing."""
        return None


class Schedule:
    """The windows of the calendar, asked of the wall clock.

    Whether the present moment lies in a window is computed, not remembered: a start that was missed is joined late,
    and a clock that jumps in either direction costs one evaluation.
    """

    def __init__(self, settings: RecordingConfig, wall: Callable[[], float]) -> None:
        self._settings = settings
        self._wall = wall
        self._calendar = Calendar(settings.schedule)
        self._same_from = self._same_until = 0
        """Unix seconds within which nothing opens or closes."""
        self._wish: SessionSpec | None = None

    def wish(self) -> SessionSpec | None:
        """Return the wish of the first window that is open now."""
        second = int(self._wall())
        if not self._same_from <= second < self._same_until:
            moment = datetime.fromtimestamp(second, tz=UTC)
            opening = self._calendar.open_at(moment)
            self._wish = opening and SessionSpec(
                "schedule",
                self._settings.segment_seconds,
                (opening.line, opening.opened_at),
                opening.opened_at.timestamp(),
            )
            self._same_from = second
            self._same_until = int(self._calendar.next_change(moment).timestamp())
        return self._wish

    def windows_between(self, since: datetime, until: datetime) -> list[Stretch]:
        """Return the stretches between two moments in which a window was open, merged; at most a year back."""
        return self._calendar.between(since, until)


def trigger_for(settings: RecordingConfig, wall: Callable[[], float]) -> Trigger:
    """Return the trigger of ``recording.mode``."""
    if settings.mode == "continuous":
        return Continuous(settings)
    return Schedule(settings, wall) if settings.mode == "schedule" else OnRequest()


def manual_session(request: ManualRequest, settings: RecordingConfig) -> SessionSpec:
    """Return the wish of a manual recording: one file up to ``max_seconds``, then the next without a gap."""
    return SessionSpec("manual", settings.max_seconds, request)
