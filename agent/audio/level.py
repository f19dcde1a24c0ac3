"""How loud it is: cheap for each block, worked out when somebody asks."""

import math
from array import array
from typing import Final

FLOOR_DBFS: Final = -96.0
"""The level of silence: what 16 bits cannot tell from nothing (JSON has no minus infinity)."""

_WINDOW_SECONDS: Final = 0.1
_FULL_SCALE: Final = 32768
_HIGHEST: Final = 0x7F  # high byte of 32767
_LOWEST: Final = 0x80  # high byte of -32768


class LevelMeter:
    """Follows 16-bit little-endian PCM, interleaved; one thread feeds it, any thread may ask."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._bytes_per_second = sample_rate * channels * 2
        self._window = int(sample_rate * _WINDOW_SECONDS) * channels * 2
        self._recent: tuple[bytes, ...] = ()
        self._zeros = b""
        self._silent_bytes = 0
        self._clipped = 0

    def feed(self, samples: bytes) -> None:
        """Take the next block: whole frames of samples."""
        if len(samples) != len(self._zeros):
            self._zeros = bytes(len(samples))
        self._silent_bytes = self._silent_bytes + len(samples) if samples == self._zeros else 0
        high_bytes = samples[1::2]
        if _HIGHEST in high_bytes or _LOWEST in high_bytes:
            values = array("h", samples)
            self._clipped += values.count(_FULL_SCALE - 1) + values.count(-_FULL_SCALE)
        recent = (*self._recent, samples)
        size = sum(map(len, recent))
        while size - len(recent[0]) >= self._window:
            size -= len(recent[0])
            recent = recent[1:]
        self._recent = recent

    def dbfs(self) -> float | None:
        """Return the RMS level of the newest 100 ms in dB relative to full scale, None without data."""
        newest = memoryview(b"".join(self._recent)[-self._window :]).cast("h").tolist()
        return _decibels(math.hypot(*newest) / math.sqrt(len(newest))) if newest else None

    @property
    def silent_seconds(self) -> float:
        """How long, up to now, every sample has been zero: a microphone that is switched off or dead."""
        return self._silent_bytes / self._bytes_per_second

    @property
    def clipped_samples(self) -> int:
        """Samples at either end of the scale since the start."""
        return self._clipped


def _decibels(amplitude: float) -> float:
    return max(FLOOR_DBFS, 20 * math.log10(amplitude / _FULL_SCALE)) if amplitude > 0 else FLOOR_DBFS
