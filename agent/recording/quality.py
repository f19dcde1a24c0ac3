"""Whether what the microphone gives is of use: silent, too quiet, clipping, or all right.

Rules
    silent      nothing but zeros for 60 s: switched off, muted in its mixer, or a broken cable.
    clipping    more than 1 % of the seconds of five minutes are clipped ones (``agent.audio.loudness``).
    quiet       something sounds, and even its loudest is below -47 dBFS. That the gain is wrong, and not that nobody is
                there, is told by what stands out: of the blocks (about 0.1 s) of five minutes the third loudest second
                is 10 dB above the quietest tenth. Speech of -50 dBFS and more has louder blocks; an empty room has
                none that stand out, at any gain, and leaves the word that was found last.
    ok          otherwise, once a minute was heard; before, nothing is known.
"""

import math
from collections import deque
from typing import Final

from agent.audio.loudness import CLIPPED_SAMPLES
from agent.audio.pcm import Measure, dbfs
from agent.status.board import Quality

SILENT_SECONDS: Final = 60.0
WINDOW_SECONDS: Final = 300
LEAST_SECONDS: Final = 60
"""Of sound, before anything but silence is said."""
CLIPPED_SHARE: Final = 0.01
QUIET_DBFS: Final = -47.0
STANDS_OUT: Final = 10.0
"""Decibels."""
LOUD_SECONDS: Final = 3
"""A bang in an empty room is one loud second, or two."""
QUIETEST_SHARE: Final = 0.1


class _Second:
    """What is kept of one second of sound."""

    def __init__(self) -> None:
        self.samples = 0
        self.loudest = -math.inf
        self.quietest = math.inf
        self.clipped = 0


class QualityJudge:
    """Follows the blocks of one microphone; ``quality`` is None while nothing is known."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._second_values = sample_rate * channels
        self.reset()

    def reset(self) -> None:
        """Forget: another device may be behind the next block, or another gain."""
        self._second = _Second()
        self._seconds: deque[_Second] = deque(maxlen=WINDOW_SECONDS)
        self._is_quiet = False
        self.quality: Quality | None = None

    def take(self, values: int, measured: Measure, clipped: int, silent_seconds: float) -> None:
        """Take a block: samples of all channels, how loud, how many clipped, and since when all is zero."""
        second = self._second
        level = dbfs(math.sqrt(measured.energy / values)) if values else -math.inf
        second.samples += values
        second.loudest, second.quietest = max(second.loudest, level), min(second.quietest, level)
        second.clipped += clipped
        if second.samples >= self._second_values:
            self._seconds.append(second)
            self._second = _Second()
            self._judge(silent_seconds)
        elif self.quality is Quality.SILENT and not silent_seconds:
            self._judge(silent_seconds)

    def _judge(self, silent_seconds: float) -> None:
        if silent_seconds >= SILENT_SECONDS:
            self.quality = Quality.SILENT
        elif len(self._seconds) >= LEAST_SECONDS:
            clipped = sum(second.clipped >= CLIPPED_SAMPLES for second in self._seconds)
            self._look_for_sound()
            if clipped > CLIPPED_SHARE * WINDOW_SECONDS:
                self.quality = Quality.CLIPPING
            else:
                self.quality = Quality.QUIET if self._is_quiet else Quality.OK
        elif self.quality is Quality.SILENT:
            self.quality = None

    def _look_for_sound(self) -> None:
        """Change the word on quietness where something sounds."""
        loud = sorted(second.loudest for second in self._seconds)[-LOUD_SECONDS]
        if loud >= QUIET_DBFS:
            self._is_quiet = False
            return
        floor = sorted(second.quietest for second in self._seconds)[int(QUIETEST_SHARE * len(self._seconds))]
        self._is_quiet = self._is_quiet or loud - floor >= STANDS_OUT
