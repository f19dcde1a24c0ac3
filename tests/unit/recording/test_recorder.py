"""The recorder's states and transitions: where it cuts, what it does on a loss, and that all is accounted for."""

from itertools import pairwise
from pathlib import Path

import pytest
from logcapture import capture_logs
from recording_setup import RecordingSetup
from simulated import BLOCK, RATE, Script, ScriptedSource

from agent.config.schema import RecordingConfig
from agent.gaps.log import Cause
from agent.recording.asked.requests import ManualRequest
from agent.recording.recorder import Recorder
from agent.status.board import State

BLOCK_SECONDS = 0.1
EXACT = 0.003
"""Seconds; the gap log counts milliseconds."""
LAST_BLOCK = 0.11
"""Seconds; a stop in the middle of a block leaves that block out."""


def settings(**changes: object) -> RecordingConfig:
    return RecordingConfig(**{"segment_seconds": 10, **changes})  # type: ignore[arg-type] # a test's own words


def test_continuous_recording_is_cut_at_the_sample(tmp_path: Path) -> None:
    """25.05 s become 10 s, 10 s and 5.05 s of one session, each beginning where the one before ends."""
    setup = RecordingSetup(tmp_path, settings())

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(25.05)
        recorder.stop()

    setup.record(script)

    entries = setup.entries
    assert setup.samples == [80_000, 80_000, 40_400]
    assert [entry.segment for entry in entries] == [1, 2, 3]
    assert len({entry.session_id for entry in entries}) == 1
    for earlier, later in pairwise(entries):
        assert abs(earlier.started.boot_ms + earlier.duration_ms - later.started.boot_ms) <= 1
    assert setup.board.snapshot.state is State.STOPPED


def test_a_manual_recording_within_continuous_takes_its_samples_and_no_more(tmp_path: Path) -> None:
    """Asked for 2.345 s it holds just that; before and behind it continuous recording has all the rest."""
    setup = RecordingSetup(tmp_path, settings())
    manual = ManualRequest(name="Visit", seconds=2.345)

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(3)
        recorder.start(manual)
        yield from source.sound(7)
        recorder.stop()

    setup.record(script)

    before, visit, behind = setup.entries
    assert (visit.mode, visit.name, visit.samples) == ("manual", "Visit", round(2.345 * RATE))
    assert manual.finished_ids == [visit.id]
    assert manual.done.is_set()
    assert len({before.session_id, visit.session_id, behind.session_id}) == 3
    assert sum(setup.samples) == setup.source.given
    assert setup.missing(Cause.OVERFLOW, Cause.NO_MICROPHONE) == 0


def test_a_manual_recording_longer_than_a_file_goes_on_in_the_next(tmp_path: Path) -> None:
    """``max_seconds`` cuts it without a gap; when it was stopped nothing else is recorded."""
    setup = RecordingSetup(tmp_path, settings(mode="manual", max_seconds=4))
    manual = ManualRequest()

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(9)
        recorder.stop_manual()
        setup.clock.after(3, recorder.stop)
        yield from source.sound(9)

    setup.clock.after(2.5, lambda: setup.recorder.start(manual))
    setup.record(script)

    assert setup.samples == [32_000, 32_000, 8_000 + 800]
    assert [entry.segment for entry in setup.entries] == [1, 2, 3]
    assert setup.gaps == []


def test_a_file_at_its_end_is_finished_and_not_read_again(tmp_path: Path) -> None:
    """The recording is queued, the daemon stays idle, and the file is not opened a second time."""
    setup = RecordingSetup(tmp_path, settings())

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(3.3)
        setup.clock.after(60, recorder.stop)
        yield from source.end()
        yield from source.sound(5)

    setup.record(script)

    assert setup.samples == [26_400]
    assert setup.source.given == 26_400
    assert setup.missing(Cause.NO_MICROPHONE) == 0


def test_stopping_takes_what_was_captured_before_and_nothing_after(tmp_path: Path) -> None:
    """Blocks that lie in the pipe at the stop are recorded; one captured after it is not."""
    setup = RecordingSetup(tmp_path, settings(segment_seconds=600))

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(1)
        backlog = list(source.sound(20))
        recorder.stop()
        yield from backlog
        yield from source.sound(3)

    setup.record(script)

    assert setup.samples == [21 * RATE]


def test_short_recordings_are_dropped_and_noted_and_the_tail_of_a_long_one_is_kept(tmp_path: Path) -> None:
    """With ``min_seconds`` 5 a session of 3.1 s goes into the gap log, one of 12 s keeps its last 2 s."""
    setup = RecordingSetup(tmp_path, settings(mode="manual", min_seconds=5, max_seconds=10))

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(3)
        recorder.start(ManualRequest(seconds=12))
        setup.clock.after(20, recorder.stop)
        yield from source.sound(14)

    setup.clock.after(1, lambda: setup.recorder.start(ManualRequest()))
    setup.record(script)

    assert setup.samples == [10 * RATE, 2 * RATE]
    (dropped,) = setup.gaps
    assert (dropped.cause, dropped.milliseconds) == (Cause.TOO_SHORT, 3100)
    assert not list(tmp_path.glob("recording/*"))


def test_digital_silence_is_said_after_a_minute_and_still_recorded(tmp_path: Path) -> None:
    """At 60 s the board and the log say ``silent``; the first sound ends that; every sample is recorded."""
    setup = RecordingSetup(tmp_path, settings(segment_seconds=600))
    states: list[str] = []

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(2)
        yield from source.sound(59.8, level=0)
        states.append(setup.board.snapshot.microphone_state)
        yield from source.sound(0.5, level=0)
        states.append(setup.board.snapshot.microphone_state)
        yield from source.sound(0.3)
        states.append(setup.board.snapshot.microphone_state)
        recorder.stop()

    with capture_logs() as said:
        setup.record(script)

    assert states == ["listening", "silent", "listening"]
    assert [line["action"] for line in said if line["action"].startswith("microphone_s")] == [
        "microphone_silent",
        "microphone_sounds",
    ]
    assert sum(setup.samples) == setup.source.given


@pytest.mark.parametrize("ready", [0, 2])
def test_what_was_captured_before_a_stop_is_in_the_recording(tmp_path: Path, ready: int) -> None:
    """A microphone gives several blocks at a time: those that lie ready when somebody says stop belong to it."""
    setup = RecordingSetup(tmp_path, settings(mode="manual"))

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(1.0)
        waiting = [source.block(BLOCK) for _ in range(ready)]
        recorder.stop_manual()
        setup.clock.after(3, recorder.stop)
        for number, block in enumerate(waiting, 1):
            source.has_more = number < ready
            yield block
        yield None

    setup.clock.after(2.5, lambda: setup.recorder.start(ManualRequest()))
    setup.record(script)
    (entry,) = setup.entries
    assert entry.samples == RATE + ready * BLOCK
