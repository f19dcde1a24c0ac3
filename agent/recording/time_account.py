"""The account of one run's time: from when on each second is recorded, missing, or not wanted."""

from collections.abc import Callable

from agent.clock import Instant
from agent.gaps.log import Cause
from agent.recording.session import SegmentFactory


class TimeAccount:
    """Tells the gap tracker where gaps begin: where the newest sample ends, or since when something is wanted.

    ``before`` accounts for the time before this start; it is called once, before anything is recorded or noted.
    Attended, nothing is missing: whoever asked for the recording hears of what went wrong.
    """

    def __init__(
        self, segment_factory: SegmentFactory, before: Callable[[Instant], object], *, unattended: bool
    ) -> None:
        self._workshop = segment_factory
        self._coverage = segment_factory.coverage
        self._before = before
        self._unattended = unattended
        self._is_begun = False
        self._wanted_since = self._now()

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
        since, until = self._wanted_since, self._workshop.until
        if self._coverage.is_open:
            since = self._now()
        elif until is not None and until.boot_ms > since.boot_ms:
            since = until
        self._coverage.lost(cause, since)

    def wanted(self, since_wall: float | None) -> None:
        """A recording is wanted now; ``since_wall``: since then by the calendar, in unix seconds."""
        if self._coverage.is_open:
            return
        if since_wall is not None:
            now = self._now()
            late_ms = now.wall_ms - round(since_wall * 1000)
            is_just_due = 0 <= late_ms <= now.boot_ms - self._wanted_since.boot_ms
            late_ms = late_ms if is_just_due else 0
            self._wanted_since = Instant(now.wall_ms - late_ms, now.boot_id, now.boot_ms - late_ms, now.clock)
        self.lost(Cause.NOT_RUNNING)

    def not_wanted(self) -> None:
        """Nothing is wanted until now."""
        self._wanted_since = self._now()
        self._coverage.ended(self._wanted_since)

    def close(self) -> None:
        """The run ends now."""
        self._coverage.ended(self._now())

    def _now(self) -> Instant:
        return self._workshop.instant(self._workshop.clock.boottime())
