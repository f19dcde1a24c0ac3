"""When samples were captured: counted from an anchor, through late blocks and a suspend."""

from itertools import pairwise
from pathlib import Path

import pytest
from recording_setup import RecordingSetup
from simulated import BLOCK, RATE, Script, ScriptedSource, SimulatedClock

from agent.audio.source import Block, SourceState
from agent.config.schema import RecordingConfig
from agent.gaps.log import Cause
from agent.recording.recorder import Recorder


def test_cuts_join_to_the_millisecond_although_blocks_arrive_late(tmp_path: Path) -> None:
    """Every third block is read 120 ms late: each file begins where the one before ends."""
    setup = RecordingSetup(tmp_path, RecordingConfig(segment_seconds=10))

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        for number in range(500):
            setup.clock.sleep(BLOCK / RATE)
            block = source.block(BLOCK)
            late = 0.12 if number % 3 == 2 else 0.0
            yield Block(block.sequence, block.captured_at + late, False, block.samples)
        recorder.stop()

    setup.record(script)

    entries = setup.entries
    assert len(entries) == 5
    for first, second in pairwise(entries):
        assert second.started.wall_ms == first.started.wall_ms + first.duration_ms
        assert second.started.boot_ms == first.started.boot_ms + first.duration_ms


def test_a_suspend_is_a_gap_of_its_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The monotonic clock stands still for 12 s, and the samples go on: the file ends, and 12 s are missing."""
    asleep = 0.0
    setup = RecordingSetup(tmp_path, RecordingConfig(segment_seconds=600))
    monkeypatch.setattr(SimulatedClock, "boottime", lambda self: self.monotonic() + asleep)

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        nonlocal asleep
        yield from source.sound(5)
        asleep = 12.0
        source.state = SourceState.LISTENING
        yield from source.sound(5)
        recorder.stop()

    setup.record(script)

    first, second = setup.entries
    assert (first.samples, second.samples) == (5 * RATE, 5 * RATE)
    assert second.started.boot_ms - first.started.boot_ms == 17_000
    assert setup.missing(Cause.NOT_RUNNING) == pytest.approx(12.0, abs=0.003)
