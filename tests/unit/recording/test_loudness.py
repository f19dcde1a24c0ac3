"""Peak, RMS and clipped seconds of a recording, against numpy."""

from pathlib import Path

import numpy as np
import pytest
from recording_setup import RecordingSetup
from simulated import RATE, Script, ScriptedSource
from speech import speech

from agent.audio.loudness import Loudness, LoudnessMeter
from agent.audio.pcm import measure
from agent.outbox import sidecar
from agent.outbox.queue_row import row_of
from agent.recording.recorder import Recorder
from agent.recording.triggers import Continuous
from agent.sync.metadata import metadata_of

SECOND = 16000


def met(samples: "np.ndarray[tuple[int], np.dtype[np.int16]]", size: int) -> Loudness:
    """Return what a meter says of samples that come in blocks."""
    meter = LoudnessMeter(SECOND, 1)
    for start in range(0, len(samples), size):
        meter.add(memoryview(samples[start : start + size].tobytes()))
    return meter.loudness


@pytest.mark.parametrize("level", [0, -20, -40, -60, -70])
@pytest.mark.parametrize("size", [960, 1920, 5001])
def test_peak_and_rms_are_those_of_numpy(level: int, size: int) -> None:
    """Of speech at any level, down to samples of a few steps, within a tenth of a decibel."""
    samples = np.frombuffer(speech(SECOND, 1, 3 * SECOND), "<i2").astype(float) * 10 ** (level / 20)
    whole = np.round(samples).astype("<i2")
    rms = 20 * np.log10(np.sqrt(np.mean(whole.astype(float) ** 2)) / 32768)
    peak = 20 * np.log10(np.abs(whole.astype(float)).max() / 32768)
    found = met(whole, size)
    assert found.peak_dbfs == pytest.approx(peak, abs=0.06)
    assert found.rms_dbfs == pytest.approx(rms, abs=0.12)
    assert found.clipped_seconds == 0


@pytest.mark.parametrize("size", [333, 1920, 40_000])
def test_clipped_seconds_are_those_of_the_recording(size: int) -> None:
    """Three samples at either limit within a second count, two do not, nor three across two seconds."""
    samples = np.zeros(6 * SECOND, "<i2")
    for at, value in (
        (10, 32767), (11, 32767), (12, -32768),
        (SECOND, 32767), (2 * SECOND - 1, -32768), (2 * SECOND, 32767), (3 * SECOND - 1, 32767),
        (5 * SECOND, 32767), (5 * SECOND + 8000, 32767), (6 * SECOND - 1, 32767),
    ):  # fmt: skip
        samples[at] = value
    assert met(samples, size)[::2] == (0.0, 2)


def test_nothing_at_all_is_the_floor() -> None:
    """Zeros, and no samples, are -96 dBFS: JSON has no minus infinity."""
    assert met(np.zeros(1000, "<i2"), 100) == met(np.zeros(0, "<i2"), 100) == Loudness(-96.0, -96.0, 0)
    assert measure(b"") == (0, 0)


def test_each_recording_says_how_loud_it_is(tmp_path: Path) -> None:
    """In its sidecar, in the queue and in the metadata; a file that was repaired says nothing."""
    setup = RecordingSetup(tmp_path)

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(5, level=3277)
        recorder.stop()
        yield None

    setup.record(script, Continuous(setup.settings))
    (entry,) = setup.entries
    assert entry.samples == pytest.approx(5 * RATE, abs=RATE)
    assert (entry.peak_dbfs, entry.rms_dbfs, entry.clipped_seconds) == (-20.0, -23.0, 0)
    assert sidecar.read(setup.outbox.files.audio(entry).with_suffix(".json")) == entry
    row = row_of(entry, setup.outbox.files)
    assert (row["peak_dbfs"], row["rms_dbfs"], row["clipped_seconds"]) == (-20.0, -23.0, 0)
    sent = metadata_of(entry)
    assert sent["recorder_peak_dbfs"] == -20.0
    assert sent["recorder_rms_dbfs"] == -23.0
    assert sent["recorder_clipped_seconds"] == 0
