"""The level meter."""

import math
import sys
from types import FrameType
from typing import Any

import numpy as np
import pytest
from speech import speech

from agent.audio.level import LevelMeter
from agent.audio.pcm import FLOOR_DBFS

RATE = 16000


def blocks(pcm: bytes, size: int = 1920) -> list[bytes]:
    """Cut PCM into blocks."""
    return [pcm[start : start + size] for start in range(0, len(pcm), size)]


def sine(amplitude: float, seconds: float = 1.0) -> bytes:
    """Return a tone of 1 kHz whose periods fit into 100 ms."""
    times = np.arange(int(seconds * RATE)) / RATE
    return np.round(amplitude * np.sin(2 * np.pi * 1000 * times)).astype("<i2").tobytes()


def test_nothing_is_known_before_the_first_block() -> None:
    """Without data there is no level, rather than a quiet one."""
    meter = LevelMeter(RATE, 1)
    assert (meter.dbfs(), meter.silent_seconds, meter.clipped_samples) == (None, 0, 0)


@pytest.mark.parametrize("amplitude", [32767, 16384, 1000, 10])
def test_level_of_a_tone(amplitude: int) -> None:
    """A sine is 3 dB below the peak that its amplitude says."""
    meter = LevelMeter(RATE, 1)
    for block in blocks(sine(amplitude)):
        meter.feed(block)
    peak = 20 * math.log10(amplitude / 32768)
    assert meter.dbfs() == pytest.approx(peak - 3.01, abs=0.3 if amplitude == 10 else 0.01)


def test_only_the_newest_tenth_of_a_second_counts() -> None:
    """A loud past is forgotten after 100 ms, whatever the size of the blocks."""
    for size in (320, 1920, 6402):
        meter = LevelMeter(RATE, 1)
        for block in [*blocks(sine(30000), size), *blocks(bytes(3198), size)]:
            meter.feed(block)
        level = meter.dbfs()
        assert level is not None
        assert level > FLOOR_DBFS
        meter.feed(bytes(2))
        assert meter.dbfs() == FLOOR_DBFS


def test_level_of_speech_is_its_rms() -> None:
    """In stereo the level is the RMS over the samples of both channels."""
    pcm = speech(RATE, 2, RATE)
    meter = LevelMeter(RATE, 2)
    for block in blocks(pcm):
        meter.feed(block)
        assert len(b"".join(meter._recent)) < 6400 + 1920
    newest = np.frombuffer(pcm[-6400:], "<i2").astype(float)
    expected = 20 * np.log10(np.sqrt(np.mean(newest**2)) / 32768)
    assert meter.dbfs() == pytest.approx(expected, abs=0.01)


def test_digital_silence_is_counted_until_the_first_sound() -> None:
    """Zeros add up to seconds; one sample that is not zero starts the count anew."""
    meter = LevelMeter(RATE, 1)
    for block in blocks(bytes(2 * RATE * 3)):
        meter.feed(block)
    assert meter.silent_seconds == pytest.approx(3.0)
    assert meter.dbfs() == FLOOR_DBFS
    meter.feed(bytes(1918) + b"\1\0")
    assert meter.silent_seconds == 0


def test_clipped_samples_are_counted_where_they_are_samples() -> None:
    """Both ends of the scale count; the same bytes across two samples do not."""
    meter = LevelMeter(RATE, 1)
    meter.feed(np.array([0, 32767, -32768, 32766, -32767, 32767], "<i2").tobytes())
    assert meter.clipped_samples == 3
    meter.feed(b"\x00\xff\x7f\x00" * 50)
    meter.feed(b"\x01\x00\x80\x01" * 50)
    meter.feed(speech(RATE, 1, RATE))
    assert meter.clipped_samples == 3


def test_clipped_count_agrees_with_a_count_by_numpy() -> None:
    """Speech that was turned up too far has as many clipped samples as numpy finds."""
    loud = np.clip(np.frombuffer(speech(RATE, 2, 2 * RATE), "<i2").astype(int) * 8, -32768, 32767).astype(
        "<i2"
    )
    meter = LevelMeter(RATE, 2)
    for block in blocks(loud.tobytes()):
        meter.feed(block)
    expected = int(np.count_nonzero((loud == 32767) | (loud == -32768)))
    assert expected > 100
    assert meter.clipped_samples == expected


def test_a_peak_stays_for_half_a_second() -> None:
    """Whoever looks more often than that misses none; the clipped samples are counted for good."""
    meter = LevelMeter(RATE, 1)
    assert meter.now() is None
    loud, soft = np.full(RATE // 10, 32767, "<i2").tobytes(), np.full(RATE // 10, 328, "<i2").tobytes()
    seen = []
    for block in [soft, loud, *[soft] * 9]:
        meter.feed(block)
        now = meter.now()
        assert now is not None
        seen.append((round(now.level_dbfs), round(now.peak_dbfs), now.clipped_samples))
    count = RATE // 10
    assert seen == [(-40, -40, 0), (0, 0, count), *[(-40, 0, count)] * 4, *[(-40, -40, count)] * 5]


def test_it_may_be_asked_at_any_moment_of_a_block() -> None:
    """Another thread that looks in the midst of the first block is told nothing, or its level; never an error."""
    meter = LevelMeter(RATE, 1)
    told = []

    def look(frame: FrameType, _event: str, _given: Any) -> Any:
        if frame.f_code is LevelMeter.feed.__code__:
            told.append(meter.now())
            return look
        return None

    before = sys.gettrace()
    sys.settrace(look)
    try:
        meter.feed(sine(1000, 0.1))
    finally:
        sys.settrace(before)
    assert told[0] is None
    assert told[-1] == meter.now() is not None
