"""How loud it is: cheap for each block, worked out when somebody asks."""

import math
from typing import NamedTuple

from agent.audio.pcm import LIMIT, WIDTH, Measure, clipped, dbfs, measure

_WINDOW_SECONDS = 0.1
PEAK_SECONDS = 0.5
"""Of so much sound the peak is told: who looks more often than that misses none."""


class SoundNow(NamedTuple):
    """How loud it is at a moment."""

    level_dbfs: float
    """RMS of the newest 100 ms."""
    peak_dbfs: float
    """The loudest sample of the newest ``PEAK_SECONDS``."""
    clipped_samples: int
    """At either end of the scale, since the source was opened first."""


class LevelMeter:
    """Follows 16-bit little-endian PCM, interleaved; one thread feeds it, any thread may ask."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._bytes_per_second = sample_rate * channels * WIDTH
        self._window = int(sample_rate * _WINDOW_SECONDS) * channels * WIDTH
        self._recent: tuple[bytes, ...] = ()
        self._peaks: tuple[tuple[int, int], ...] = ()
        """Bytes and peak of the newest blocks."""
        self._silent_bytes = 0
        self._clipped = 0
        self.newest = Measure(0, 0.0)
        """Of the block that was fed last."""

    def feed(self, samples: bytes) -> None:
        """Take the next block: whole frames of samples."""
        newest = self.newest = measure(samples)
        self._silent_bytes = 0 if newest.peak else self._silent_bytes + len(samples)
        if newest.peak >= LIMIT:
            self._clipped += clipped(samples)
        peaks = (*self._peaks, (len(samples), newest.peak))
        size = sum(count for count, _ in peaks)
        while size - peaks[0][0] >= PEAK_SECONDS * self._bytes_per_second:
            size -= peaks[0][0]
            peaks = peaks[1:]
        self._peaks = peaks
        recent = (*self._recent, samples)
        size = sum(map(len, recent))
        while size - len(recent[0]) >= self._window:
            size -= len(recent[0])
            recent = recent[1:]
        self._recent = recent  # last: where it has something, there is a peak

    def now(self) -> SoundNow | None:
        """Return how loud it is, None without data."""
        level = self.dbfs()
        if level is None:
            return None
        return SoundNow(level, dbfs(max(peak for _, peak in self._peaks)), self._clipped)

    def dbfs(self) -> float | None:
        """Return the RMS level of the newest 100 ms in dB relative to full scale, None without data."""
        newest = b"".join(self._recent)[-self._window :]
        return dbfs(math.sqrt(measure(newest).energy * WIDTH / len(newest))) if newest else None

    @property
    def silent_seconds(self) -> float:
        """How long, up to now, every sample has been zero: a microphone that is switched off or dead."""
        return self._silent_bytes / self._bytes_per_second

    @property
    def clipped_samples(self) -> int:
        """Samples at either end of the scale since the start."""
        return self._clipped
