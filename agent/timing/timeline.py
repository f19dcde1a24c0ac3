"""Whether the samples of a source keep up with time, and how many were lost when they do not.

A block says when its last sample was in hand. The difference between that and the time its samples stand for (the
*lateness*) is the device's latency plus the capture process's scheduling: it jumps by milliseconds, and drifts with the
card's crystal (±200 ppm). Samples that were lost push it up for good.
"""

from agent.audio.source import Block

STEADY_SECONDS = 30.0
"""The lateness is judged against the least of the last 30 to 60 s."""
LOST_SECONDS = 0.15
"""Lateness beyond this for ``CONFIRMING`` blocks in a row is lost sound even when nothing was flagged."""
FLAGGED_SECONDS = 0.005
"""After an overflow was flagged this much is."""
CONFIRMING = 8


class Timeline:
    """Follows one opening of a device; ``missing`` is asked before each block is used."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._rate = sample_rate
        self._width = 2 * channels
        self._samples = 0
        self._started = False
        self._next_sequence = 0
        self._least = self._least_before = 0.0
        self._least_since = 0.0
        self._late: list[float] = []
        self._flagged = False

    @property
    def samples(self) -> int:
        """How many samples of this opening there were up to the end of the newest block, lost ones included."""
        return self._samples

    @property
    def origin(self) -> float:
        """When the first sample of this opening was captured by the least late of the blocks, in monotonic seconds."""
        return min(self._least, self._least_before)

    def missing(self, block: Block) -> int:
        """Return how many samples per channel were lost before this block, and count both as captured."""
        samples = len(block.samples) // self._width
        if self._started and block.sequence < self._next_sequence:
            self._started = False
        skipped = block.sequence - self._next_sequence if self._started else 0
        self._next_sequence = block.sequence + 1
        if not self._started:
            self._begin(block, samples)
            return 0
        self._flagged = self._flagged or block.overflow or skipped > 0
        lateness = block.captured_at - (self._samples + samples) / self._rate
        lost = self._judge(lateness - min(self._least, self._least_before), samples / self._rate)
        self._samples += samples + lost
        self._note(block.captured_at, lateness - lost / self._rate)
        return lost

    def _begin(self, block: Block, samples: int) -> None:
        self._started = True
        self._samples = samples
        self._flagged = False
        self._late.clear()
        self._least = self._least_before = block.captured_at - samples / self._rate
        self._least_since = block.captured_at

    def _judge(self, late: float, seconds: float) -> int:
        """Return the samples lost: as late as the least late of some blocks in a row; one in time proves none lost.

        Nor is anything proved by blocks that come faster than they last: then a late capture process catches up.
        """
        if late <= (FLAGGED_SECONDS if self._flagged else LOST_SECONDS):
            self._late.clear()
            self._flagged = False
            return 0
        self._late.append(late)
        if len(self._late) < CONFIRMING:
            return 0
        if self._late[0] - late > CONFIRMING * seconds / 2:
            del self._late[0]
            return 0
        lost = min(self._late)
        self._late.clear()
        self._flagged = False
        return round(lost * self._rate)

    def _note(self, now: float, lateness: float) -> None:
        if now - self._least_since > STEADY_SECONDS:
            self._least_before, self._least = self._least, lateness
            self._least_since = now
        self._least = min(self._least, lateness)
