"""Whether the microphone's sound is of use: silent, quiet, clipping, or all right, on speech at many levels."""

from collections.abc import Iterator

import numpy as np
import pytest
from speech import speech

from agent.audio.level import LevelMeter
from agent.recording.quality import QualityJudge
from agent.status.board import Quality

RATE = 16000
BLOCK = 1920
SECONDS = 200

Samples = np.ndarray[tuple[int], np.dtype[np.int16]]


def words(active_dbfs: float, noise_dbfs: float, pause: float = 3.0) -> Samples:
    """Return speech at a level while it is spoken, with pauses, over white noise."""
    one = np.frombuffer(speech(RATE, 1, 4 * RATE), "<i2").astype(float)
    frames = np.sqrt((one[: len(one) // 320 * 320].reshape(-1, 320) ** 2).mean(axis=1))
    active = frames[frames > frames.max() / 10]
    one *= 10 ** (active_dbfs / 20) * 32768 / np.sqrt((active**2).mean())
    whole = np.tile(np.concatenate([one, np.zeros(round(pause * RATE))]), 60)[: SECONDS * RATE]
    return rounded(whole + noise(noise_dbfs))


def noise(dbfs: float) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Return white noise."""
    return np.random.default_rng(7).normal(0, 10 ** (dbfs / 20) * 32768, SECONDS * RATE)


def rounded(samples: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> Samples:
    """Return 16-bit samples, clipped where they are too loud."""
    return np.clip(np.round(samples), -32768, 32767).astype("<i2")


def judged(samples: Samples, judge: QualityJudge | None = None) -> Iterator[Quality | None]:
    """Yield the quality after each block."""
    judge, meter = judge or QualityJudge(RATE, 1), LevelMeter(RATE, 1)
    for start in range(0, len(samples), BLOCK):
        block = samples[start : start + BLOCK].tobytes()
        before = meter.clipped_samples
        meter.feed(block)
        judge.take(len(block) // 2, meter.newest, meter.clipped_samples - before, meter.silent_seconds)
        yield judge.quality


@pytest.mark.parametrize("level", [-15, -20, -25, -30, -35, -40, -45])
@pytest.mark.parametrize("floor", [-95, -70])
def test_speech_of_a_right_gain_is_fine(level: int, floor: int) -> None:
    """Down to -45 dBFS while somebody speaks, in a room without any noise and in one with some."""
    assert set(judged(words(level, floor))) == {None, Quality.OK}


@pytest.mark.parametrize("level", [-55, -60, -65, -70, -80])
def test_a_gain_that_is_wrong_is_quiet(level: int) -> None:
    """From -55 dBFS down to speech of three or four steps of 16 bits."""
    assert list(judged(words(level, -94)))[-1] is Quality.QUIET


@pytest.mark.parametrize("floor", [-94, -85, -75, -60, -50])
def test_nobody_there_is_not_quiet(floor: int) -> None:
    """Noise alone says nothing about the gain, however faint it is."""
    assert set(judged(rounded(noise(floor)))) == {None, Quality.OK}


def test_a_bang_in_an_empty_room_says_nothing() -> None:
    """Two loud seconds in minutes of faint noise are no speech that came too quiet."""
    samples = noise(-85)
    samples[100 * RATE : 101 * RATE] *= 10
    assert set(judged(rounded(samples))) == {None, Quality.OK}


def test_quiet_stays_until_something_loud_proves_otherwise() -> None:
    """When they have gone nobody knows better; speech after the gain was raised does."""
    judge = QualityJudge(RATE, 1)
    assert list(judged(words(-65, -90), judge))[-1] is Quality.QUIET
    assert list(judged(np.tile(rounded(noise(-90)), 2), judge))[-1] is Quality.QUIET
    assert list(judged(words(-35, -70), judge))[-1] is Quality.OK


def test_clipping_is_more_than_one_in_a_hundred_seconds() -> None:
    """Four seconds of five minutes with three samples at the limit are clipping, three are not; single ones never."""
    for seconds, samples, expected in (
        (4, 3, Quality.CLIPPING),
        (3, 3, Quality.OK),
        (50, 2, Quality.OK),
    ):
        one = words(-30, -70).copy()
        for second in range(seconds):
            one[(2 * second) * RATE : (2 * second) * RATE + samples] = 32767
        assert list(judged(one))[-1] is expected


def test_speech_that_is_far_too_loud_clips() -> None:
    """Speech at +3 dBFS, as 16 bits leave of it."""
    assert list(judged(words(3, -60)))[-1] is Quality.CLIPPING


def test_a_minute_of_zeros_is_silent_and_one_sample_ends_it() -> None:
    """Zeros of 59 s are nothing; what comes after the minute is judged anew."""
    judge = QualityJudge(RATE, 1)
    assert set(judged(np.zeros(59 * RATE, "<i2"), judge)) == {None}
    judge.reset()
    assert list(judged(np.zeros(61 * RATE, "<i2"), judge))[-1] is Quality.SILENT
    meter = LevelMeter(RATE, 1)
    meter.feed(b"\1\0" * BLOCK)
    judge.take(BLOCK, meter.newest, 0, meter.silent_seconds)
    assert judge.quality is not Quality.SILENT
