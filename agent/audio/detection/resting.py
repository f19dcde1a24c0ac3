"""A detector that rests while nothing stands out of the noise: nobody speaks then, and it need not be asked.

What stands out is 3 dB louder than the noise has been, of four frames (128 ms), in the sound as it is or in its
differences: a rumble that drowns all else hides no voice above it. Speech that is 10 dB over the noise stands out with
its first frame; what is awake stays so for a second and a half. It begins with the half second before, so that it knows
the noise.
"""

import math
from collections import deque
from typing import Final

from agent.audio.detection.detector import Detector
from agent.audio.pcm import WIDTH, audioop, measure

STANDS_OUT: Final = 3.0
"""Decibels."""
SMOOTH_FRAMES: Final = 4
CONTEXT_SECONDS: Final = 0.5
AWAKE_SECONDS: Final = 1.5
RISE: Final = 0.75
"""Decibels a second at most: a noise that stays becomes the floor."""
FOLLOW: Final = 0.1
"""Of what a frame is away from the floor, so much is followed."""
_RATE: Final = 16_000


class _Band:
    """The noise in one kind of energy."""

    def __init__(self, frame_seconds: float) -> None:
        self._rise = RISE * frame_seconds
        self._recent: deque[float] = deque(maxlen=SMOOTH_FRAMES)
        self._floor: float | None = None

    def stands_out(self, energy: float) -> bool:
        """Take the energy of a frame; return whether the newest frames stand out of the noise."""
        self._recent.append(energy)
        level = 10 * math.log10(sum(self._recent) / len(self._recent) + 1.0)
        if self._floor is None:
            self._floor = level
            return True
        self._floor += min(self._rise, FOLLOW * (level - self._floor))
        return level > self._floor + STANDS_OUT


class RestingDetector:
    """Asks another detector only when something stands out; what it is not asked holds nothing."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.frame_samples = detector.frame_samples
        self.needed, self.window = detector.needed, detector.window
        seconds = detector.frame_samples / _RATE
        self._awake_frames = round(AWAKE_SECONDS / seconds)
        self._context: deque[bytes] = deque(maxlen=round(CONTEXT_SECONDS / seconds))
        self._sound, self._differences = _Band(seconds), _Band(seconds)
        self._awake = 0
        """For so many frames more the other one is asked."""

    def judge(self, frame: bytes) -> bool:
        """Return what the other detector says of a frame, False while it rests."""
        energies = _swing(frame), measure(_differences(frame)).energy
        # Both bands follow each frame: no short cut.
        stands_out = [band.stands_out(energy) for band, energy in zip(self._bands, energies, strict=True)]
        was_awake = self._awake > 0
        self._awake = self._awake_frames if any(stands_out) else max(0, self._awake - 1)
        if not self._awake:
            self._context.append(frame)
            return False
        if not was_awake:
            self._detector.reset()
            for earlier in self._context:
                self._detector.judge(earlier)
            self._context.clear()
        return self._detector.judge(frame)

    def reset(self) -> None:
        """Begin anew; the noise stays: the room is the same."""
        self._detector.reset()
        self._context.clear()
        self._awake = 0

    @property
    def _bands(self) -> tuple[_Band, _Band]:
        return self._sound, self._differences


def _swing(frame: bytes) -> float:
    """Return the energy of a frame about its mean: what swings too slowly to be heard is left out."""
    return measure(audioop.bias(frame, WIDTH, -audioop.avg(frame, WIDTH))).energy


def _differences(frame: bytes) -> bytes:
    """Return what each sample differs from the one before, at half its amount: what changes fast stays."""
    half = audioop.mul(frame, WIDTH, 0.5)
    return bytes(audioop.add(half[WIDTH:], audioop.mul(half[:-WIDTH], WIDTH, -1), WIDTH))
