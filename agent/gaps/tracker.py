"""From when to when nothing was recorded although it should have been: one open gap at a time."""

from collections.abc import Callable

from agent.clock import Instant
from agent.gaps.log import Cause, Gap, GapLog
from agent.log import get_logger

log = get_logger(__name__)


SAID_MS = 1000
"""A gap of less is in the gap log, but worth nobody's attention in the log: each start has one."""
TOGETHER_MS = 60_000
"""Samples lost in a storm of overflows are noted once a minute: a gap log line is a durable write."""


class GapTracker:
    """Opens and closes gaps as the recorder tells it; each is written when it opens and again when it closes.

    Samples lost inside a recording are noted at once, but further ones of the same minute together: what a kill can
    take from the gap log is a minute of them. Their silence is in the file in any case.
    """

    def __init__(
        self,
        gap_log: GapLog,
        elapsed_ms: Callable[[Instant, Instant], int | None],
        next_number: Callable[[], int] = lambda: 0,
    ) -> None:
        self._gap_log = gap_log
        self._apart_ms = elapsed_ms
        self._next_number = next_number
        self.missing_ms = 0
        """What was not recorded since the start, in gaps that are over, as far as their length is known."""
        self.wanted_ms: Callable[[Instant, Instant], int | None] = elapsed_ms
        """How much of a time was wanted by the settings."""
        self._open: Gap | None = None
        self._is_asked = self._open_is_asked = False
        """Whether a person wants a recording, and did so at some time of the open gap: all of it is missing."""
        self._overflow: Gap | None = None
        """Noted, and not written yet."""
        self._overflow_written: Instant | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing is being recorded although it should be."""
        return self._open is not None

    @property
    def open_since(self) -> Instant | None:
        """Since when nothing is being recorded although it should be."""
        return None if self._open is None else self._open.start

    def asked(self, *, on: bool) -> None:
        """A person wants a recording, or no longer does."""
        self._is_asked = on
        self._open_is_asked = self._open_is_asked or on

    def go_on(self, gap: Gap) -> None:
        """Nothing has been recorded since an earlier run left this gap open: it is this run's."""
        self._open = gap

    def lost(self, cause: Cause, at: Instant) -> None:
        """Nothing is recorded from ``at`` on; an open gap of another cause ends there."""
        if self._open is not None:
            if self._open.cause is cause:
                return
            at = not_before(self._open.start, at)
            self.ended(at)
        self._open, self._open_is_asked = Gap(cause, at, before_number=self._next_number()), self._is_asked
        self._gap_log.add(self._open)

    def ended(self, at: Instant) -> None:
        """Recording goes on from ``at``, or is no longer wanted."""
        gap, self._open = self._open, None
        if gap is None:
            return
        at = not_before(gap.start, at)
        length = self._apart_ms if self._open_is_asked else self.wanted_ms
        gap = Gap(gap.cause, gap.start, at, positive(length(gap.start, at)))
        self._gap_log.add(gap)
        self.missing_ms += gap.milliseconds or 0
        self._say(gap)

    def note(self, cause: Cause, at: Instant, milliseconds: int, recording_id: str | None) -> None:
        """Write a gap of known length."""
        self._gap_log.add(Gap(cause, at, None, milliseconds, recording_id))

    def overflow(self, at: Instant, milliseconds: int, recording_id: str | None) -> None:
        """Note samples that were lost while capturing."""
        self.missing_ms += milliseconds
        held = self._overflow
        if held is not None and held.recording_id != recording_id:
            self.settle()
            held = None
        before = (held.milliseconds or 0) if held is not None else 0
        self._overflow = Gap(
            Cause.OVERFLOW, held.start if held is not None else at, None, before + milliseconds, recording_id
        )
        self.settle_if_due(at)

    def settle_if_due(self, now: Instant) -> None:
        """Write the lost samples that were noted, unless some were written within the last minute."""
        last = self._overflow_written
        if self._overflow is not None and (
            last is None or last.boot_id != now.boot_id or now.boot_ms - last.boot_ms >= TOGETHER_MS
        ):
            self._overflow_written = now
            self.settle()

    def settle(self) -> None:
        """Write the lost samples that were noted."""
        gap, self._overflow = self._overflow, None
        if gap is not None:
            self._gap_log.add(gap)

    def retry(self) -> None:
        """Write what the disk has refused; to be called before what is recorded next is remembered."""
        self._gap_log.retry()

    def write(self, gap: Gap) -> bool:
        """Write a gap that is known in full; return whether it is durable."""
        self._say(gap)
        return self._gap_log.add(gap)

    @staticmethod
    def _say(gap: Gap) -> None:
        is_long = gap.milliseconds is None or gap.milliseconds >= SAID_MS
        (log.warning if is_long else log.debug)(
            "nothing was recorded", action="gap", cause=gap.cause.value, milliseconds=gap.milliseconds
        )


def not_before(start: Instant, at: Instant) -> Instant:
    """Return a moment of the same boot, but never before another: blocks arrive late, by milliseconds."""
    return start if at.boot_id == start.boot_id and at.boot_ms < start.boot_ms else at


def positive(milliseconds: int | None) -> int | None:
    """Return a length; None for one below zero, which only clocks that disagree give."""
    return None if milliseconds is not None and milliseconds < 0 else milliseconds
