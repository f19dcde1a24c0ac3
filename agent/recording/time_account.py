"""The account of one run's time: from when on each second is recorded, missing, or not wanted."""

from collections.abc import Callable

from agent.clock import Instant
from agent.gaps.log import Cause
from agent.recording.asked.requests import Asked
from agent.recording.segment_factory import SegmentFactory
from agent.recording.triggers import Schedule, SessionSpec, Trigger


class TimeAccount:
    """Tells the gap tracker where gaps begin: where the newest sample ends, or since when something is wanted.

    ``before`` accounts for the time before this start; it is called once, before anything is recorded or noted.
    Attended, nothing is missing: whoever asked for the recording hears of what went wrong.
    """

    def __init__(
        self,
        segment_factory: SegmentFactory,
        trigger: Trigger,
        before: Callable[[Instant], object],
        *,
        unattended: bool,
    ) -> None:
        self._segment_factory = segment_factory
        self._trigger = trigger
        self._gap_tracker = segment_factory.gap_tracker
        if isinstance(trigger, Schedule):
            self._gap_tracker.wanted_ms = trigger.wanted_ms
        self._before = before
        self._unattended = unattended
        self._is_begun = False
        self._wanted_since = self._now()
        self._asked: Asked | None = None

    @property
    def is_begun(self) -> bool:
        """Whether the time before this start is accounted for."""
        return self._is_begun

    def begin(self, missing: Cause | None) -> None:
        """Account for the time before this start, once; ``missing``: why nothing is recorded now that should be.

        It waits for the disk alone; what is captured meanwhile waits in the pipe.
        """
        if self._is_begun:
            return
        self._is_begun = True
        self._before(self._wanted_since)
        if missing is not None:
            self.lost(missing)

    def lost(self, cause: Cause) -> None:
        """Nothing is recorded from the newest sample on, or since something is wanted.

        The newest sample is one that the disk has taken; in a gap that is open only the cause changes, now.
        """
        if not self._unattended:
            return
        since, until = self._wanted_since, self._segment_factory.until
        if self._gap_tracker.is_open:
            since = self._now()
        elif until is not None and until.boot_ms > since.boot_ms:
            since = until
        self._gap_tracker.lost(cause, since)

    def slept(self) -> None:
        """The machine was suspended after the newest sample; a gap that is open already goes on up to the next one."""
        if not self._gap_tracker.is_open:
            self.lost(Cause.NOT_RUNNING)

    def wanted(self, since_wall: float | None) -> None:
        """A recording is wanted now; ``since_wall``: since then by the calendar, in unix seconds."""
        if self._gap_tracker.is_open:
            return
        if since_wall is not None:
            now = self._now()
            late_ms = now.wall_ms - round(since_wall * 1000)
            is_just_due = 0 <= late_ms <= now.boot_ms - self._wanted_since.boot_ms
            late_ms = late_ms if is_just_due else 0
            self._wanted_since = Instant(now.wall_ms - late_ms, now.boot_id, now.boot_ms - late_ms, now.clock)
        self.lost(Cause.NOT_RUNNING)

    def asked(self, seconds: float | None, earlier: SessionSpec | None, *, is_listening: bool) -> None:
        """A manual recording is wanted from now on; durable, so that a restart finds what it has cut short.

        ``earlier`` was wanted until now; what the settings want may be wanted for longer.
        """
        unasked = self._trigger.spec()
        if self._is_begun and not is_listening:
            if unasked is not None:
                self.wanted(unasked.since)
            elif earlier is None:
                self.not_wanted()
        self._gap_tracker.asked(on=True)
        self._asked = Asked(self._now(), None if seconds is None else round(seconds * 1000))
        self._segment_factory.sink.asked(self._asked)

    def asked_ends(self) -> None:
        """The manual recording was wanted until now, and a kill while its file is finished makes it no longer."""
        self._gap_tracker.asked(on=False)
        if self._asked is not None:
            length = max(0, self._now().boot_ms - self._asked.since.boot_ms)
            longest = self._asked.milliseconds
            self._asked = Asked(self._asked.since, length if longest is None else min(length, longest))
            self._segment_factory.sink.asked(self._asked)

    def not_wanted(self) -> None:
        """Nothing is wanted until now; all that was asked for is in files and in the gap log."""
        self._wanted_since = self._now()
        self._gap_tracker.ended(self._wanted_since)
        if self._asked is not None:
            self._asked = None
            self._segment_factory.sink.asked(None)

    def close(self) -> None:
        """The run ends now."""
        self._gap_tracker.ended(self._now())

    def _now(self) -> Instant:
        return self._segment_factory.instant(self._segment_factory.clock.boottime())
