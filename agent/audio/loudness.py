"""How loud a recording is: peak, RMS and clipped seconds of what its encoder was given."""

import math
from typing import Final, NamedTuple

from agent.audio.pcm import LIMIT, WIDTH, Measure, clipped, dbfs, measure

CLIPPED_SAMPLES: Final = 3
"""So many samples at the limit within a second make it a clipped one: a single one may have been just as loud."""


class Loudness(NamedTuple):
    """The level of a recording."""

    peak_dbfs: float
    """Of the loudest sample; 0 is the limit, -96 is nothing at all."""
    rms_dbfs: float
    """Over all samples, the silence in the place of lost ones included."""
    clipped_seconds: int
    """Seconds, counted from the first sample, with at least ``CLIPPED_SAMPLES`` samples at the limit of 16 bits."""


class LoudnessMeter:
    """Follows what one recording's encoder is given, from its first sample."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._second = sample_rate * channels
        self._values = 0
        """Samples of all channels."""
        self._peak = 0
        self._energy = 0.0
        self._in_second = 0
        """Clipped samples of the second that was looked at last."""
        self._last_second = -1
        self._clipped_seconds = 0

    def add(self, samples: bytes | memoryview) -> None:
        """Take the next samples: s16le, channels interleaved."""
        peak, energy = measure(samples)
        self._peak = max(self._peak, peak)
        self._energy += energy
        if peak >= LIMIT:
            self._count_clipped(samples)
        self._values += len(samples) // WIDTH

    def add_measured(self, values: int, measured: Measure, clipped_samples: int) -> None:
        """Take samples that were measured before; those of a second count where they begin."""
        self._peak = max(self._peak, measured.peak)
        self._energy += measured.energy
        if clipped_samples:
            self._count(self._values // self._second, clipped_samples)
        self._values += values

    @property
    def loudness(self) -> Loudness:
        """What is known until now."""
        rms = math.sqrt(self._energy / self._values) if self._values else 0.0
        peak_dbfs, rms_dbfs = (round(dbfs(amount), 1) + 0.0 for amount in (self._peak, rms))  # + 0: no -0
        return Loudness(peak_dbfs, rms_dbfs, self._clipped_seconds)

    def _count_clipped(self, samples: bytes | memoryview) -> None:
        at, end = self._values, self._values + len(samples) // WIDTH
        while at < end:
            second = at // self._second
            until = min(end, (second + 1) * self._second)
            self._count(
                second, clipped(samples[(at - self._values) * WIDTH : (until - self._values) * WIDTH])
            )
            at = until

    def _count(self, second: int, clipped_samples: int) -> None:
        if second != self._last_second:
            self._last_second, self._in_second = second, 0
        before = self._in_second
        self._in_second += clipped_samples
        self._clipped_seconds += before < CLIPPED_SAMPLES <= self._in_second
