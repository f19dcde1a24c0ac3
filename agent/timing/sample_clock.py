"""When each sample was captured, on the boot clock: counted, not read off at the moment a block happened to arrive.

The moments at which blocks arrive are late by whatever the machine was busy with, never early. So the count of samples
gives the time, from an anchor; the least late of the blocks of the last minute tells how good the anchor still is. The
card's crystal (±200 ppm) carries the count away from the clock: when it is ``STEP_SECONDS`` off, the anchor moves.
Until then what follows without a gap joins to the sample.
"""

from agent.audio.source import Block
from agent.clock import Clock
from agent.timing.timeline import Timeline

STEP_SECONDS = 0.5
"""So far the count of samples may be from the clock before the anchor moves."""
SUSPENDED_SECONDS = 0.1
"""By so much more the boot clock must have gone on than the monotonic one for a suspend."""
TOGETHER_SECONDS = 0.002
"""Two clocks read within this time were read at once."""
READINGS = 20


class SampleClock:
    """Follows the blocks of a source; ``begins_at`` belongs to the recorder's thread."""

    def __init__(self, clock: Clock, timeline: Timeline, width: int, sample_rate: int) -> None:
        self._clock = clock
        self._timeline = timeline
        self._width = width
        self._rate = sample_rate
        self._anchor: float | None = None
        self._asleep = boot_minus_monotonic(clock)
        self.until: float | None = None
        """The end of the newest sample, in seconds of the boot clock; None before there was one."""
        self.resumed = False
        """Whether the machine was suspended between the newest block and the one before."""

    def begins_at(self, block: Block) -> float:
        """Return when the first sample of a block was captured, in seconds of CLOCK_BOOTTIME.

        The timeline has been asked about the block before. What is returned never lies before the end of an earlier
        opening, or of what was captured before a suspend.
        """
        count = len(block.samples) // self._width
        timeline, asleep = self._timeline, boot_minus_monotonic(self._clock)
        before = (timeline.samples - count) / self._rate
        is_new = timeline.samples == count
        self.resumed = asleep - self._asleep > SUSPENDED_SECONDS and not is_new
        if self._anchor is None or is_new or abs(self._anchor - timeline.origin) > STEP_SECONDS:
            self._anchor = timeline.origin
        if abs(asleep - self._asleep) > SUSPENDED_SECONDS:
            self._asleep = asleep
        begins = self._anchor + self._asleep + before
        if (is_new or self.resumed) and self.until is not None and begins < self.until:
            self._anchor += self.until - begins
            begins = self.until
        self.until = begins + count / self._rate
        return begins

    @property
    def has_slept(self) -> bool:
        """Whether the machine was suspended after the newest block."""
        return self.until is not None and boot_minus_monotonic(self._clock) - self._asleep > SUSPENDED_SECONDS


def boot_minus_monotonic(clock: Clock) -> float:
    """Return how long the machine has been suspended since it booted, in seconds."""
    least, found = float("inf"), 0.0
    for _ in range(READINGS):
        before, boot, after = clock.monotonic(), clock.boottime(), clock.monotonic()
        if after - before < least:
            least, found = after - before, boot - (before + after) / 2
        if least < TOGETHER_SECONDS:
            break
    return found
