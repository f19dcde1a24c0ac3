"""What asks for a recording: always, by the calendar, or a person."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from agent.config import RecordingConfig, expand_cron
from agent.recording.requests import ManualRequest


@dataclass(frozen=True)
class Wish:
    """A session that somebody wants."""

    mode: str
    segment_seconds: int
    """Where a segment is cut."""
    key: object = None
    """Tells one wish from the next: another key is another session."""


class Trigger(Protocol):
    """Says, at any moment, which session is wanted by configuration."""

    def wish(self) -> Wish | None:
        """Return what is wanted now, or None for nothing."""


class Continuous:
    """Always the same wish."""

    def __init__(self, settings: RecordingConfig) -> None:
        self._wish = Wish("continuous", settings.segment_seconds)

    def wish(self) -> Wish | None:
        """Record."""
        return self._wish


class OnRequest:
    """Never a wish of its own: recordings are started by a person or a command."""

    def wish(self) -> Wish | None:
        """Nothing."""
        return None


class Schedule:
    """Windows of the calendar, asked of the wall clock anew each second.

    Whether the present moment lies in a window is computed, not remembered: a start that was missed is joined late,
    and a clock that jumps in either direction costs one evaluation.
    """

    def __init__(self, settings: RecordingConfig, wall: Callable[[], float]) -> None:
        from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415 - 4 MiB that only this mode needs

        self._settings = settings
        self._wall = wall
        self._windows = [
            (
                window,
                [
                    CronTrigger.from_crontab(cron, timezone=ZoneInfo(window.timezone))
                    for cron in expand_cron(window.start)
                ],
            )
            for window in settings.schedule
        ]
        self._asked_at = -1
        self._wish: Wish | None = None

    def wish(self) -> Wish | None:
        """Return the wish of the first window that is open now."""
        second = int(self._wall())
        if second != self._asked_at:
            self._asked_at = second
            self._wish = self._open_window(datetime.fromtimestamp(second, tz=UTC))
        return self._wish

    def _open_window(self, now: datetime) -> Wish | None:
        for window, triggers in self._windows:
            earliest = now - timedelta(minutes=window.minutes, seconds=-1)
            starts = [trigger.get_next_fire_time(None, earliest) for trigger in triggers]
            open_since = max((start for start in starts if start is not None and start <= now), default=None)
            if open_since is not None:
                return Wish("schedule", self._settings.segment_seconds, (window.start, open_since))
        return None

    def windows_between(self, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
        """Return the stretches between two moments in which a window was open, merged; at most a year back."""
        since = max(since, until - timedelta(days=366))
        found = []
        for window, triggers in self._windows:
            length = timedelta(minutes=window.minutes)
            for trigger in triggers:
                start = trigger.get_next_fire_time(None, since - length + timedelta(seconds=1))
                while start is not None and start < until:
                    found.append((max(start, since), min(start + length, until)))
                    start = trigger.get_next_fire_time(start, start + timedelta(seconds=1))
        merged: list[tuple[datetime, datetime]] = []
        for begin, end in sorted(found):
            if merged and begin <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((begin, end))
        return merged


def trigger_for(settings: RecordingConfig, wall: Callable[[], float]) -> Trigger:
    """Return the trigger of ``recording.mode``."""
    if settings.mode == "continuous":
        return Continuous(settings)
    return Schedule(settings, wall) if settings.mode == "schedule" else OnRequest()


def manual_wish(request: ManualRequest, settings: RecordingConfig) -> Wish:
    """Return the wish of a manual recording: one file up to ``max_seconds``, then the next without a gap."""
    return Wish("manual", settings.max_seconds, request)
