"""What somebody asks of a recorder that listens for a voice: a recording by hand, a mark, the mute, the stop."""

from pathlib import Path

import pytest
from simulated import RATE, Script, ScriptedSource
from voice_mode import HANG, HUSH, PRE_ROLL, VOICE, ending, not_wanted, voice_setup

from agent.audio.source import EndOfSource
from agent.gaps.log import Cause
from agent.recording.asked.requests import ManualRequest, MarkRequest
from agent.recording.recorder import Recorder


def test_a_recording_by_hand_comes_first(tmp_path: Path) -> None:
    """It takes all that is heard, from its request to its stop; before and behind it is listened."""
    setup = voice_setup(tmp_path)
    request, unasked = ManualRequest(seconds=6), []

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(10, level=HUSH)
        unasked.append(recorder.records_unasked)
        recorder.start(request)
        yield from source.sound(10, level=HUSH)
        yield from source.sound(4, level=VOICE)
        unasked.append(recorder.records_unasked)
        yield from source.sound(10, level=HUSH)

    elapsed = setup.record(ending(steps))
    assert [entry.mode for entry in setup.entries] == ["manual", "voice"]
    assert setup.entries[0].samples == 6 * RATE
    assert unasked == [False, True]
    assert request.finished_ids == [setup.entries[0].id]
    assert sum(setup.samples) / RATE + not_wanted(setup) == pytest.approx(elapsed)


def test_a_voice_is_followed_after_a_recording_by_hand(tmp_path: Path) -> None:
    """Somebody speaks all the time: voice, manual, voice, and no sample in two of them or in none."""
    setup = voice_setup(tmp_path)

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(8, level=VOICE)
        recorder.start(ManualRequest(seconds=5))
        yield from source.sound(12, level=VOICE)
        yield from source.sound(10, level=HUSH)

    elapsed = setup.record(ending(steps))
    assert [entry.mode for entry in setup.entries] == ["voice", "manual", "voice"]
    assert setup.entries[1].samples == 5 * RATE
    assert sum(setup.samples) / RATE + not_wanted(setup) == pytest.approx(elapsed)


def test_the_rest_of_a_block_behind_a_recording_by_hand_is_listened_to(tmp_path: Path) -> None:
    """The recording ends within a block in which somebody speaks: the stretch behind it joins to the sample."""
    setup = voice_setup(tmp_path)

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(4, level=HUSH)
        recorder.start(ManualRequest(seconds=5.03))
        yield from source.sound(10, level=VOICE)
        yield from source.sound(10, level=HUSH)

    elapsed = setup.record(ending(steps))
    assert [entry.mode for entry in setup.entries] == ["manual", "voice"]
    assert setup.entries[1].started.wall_ms == setup.entries[0].ended_ms
    assert sum(setup.samples) / RATE + not_wanted(setup) == pytest.approx(elapsed)


def test_mute_and_mark(tmp_path: Path) -> None:
    """Muted it hears nothing, and nothing of before is recorded later; a mark needs a recording."""
    setup = voice_setup(tmp_path)
    early, late = (MarkRequest(0.0) for _ in range(2))

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(10, level=HUSH)
        early.at = setup.clock.boottime()
        recorder.mark(early)
        yield from source.sound(2, level=VOICE)
        late.at = setup.clock.boottime()
        recorder.mark(late)
        yield from source.sound(1, level=VOICE)
        recorder.turn_mute(on=True)
        setup.clock.after(20, lambda: recorder.turn_mute(on=False))
        yield from source.sound(2, level=VOICE)
        yield from source.sound(10, level=HUSH)

    setup.record(ending(steps))
    assert early.error is not None
    assert late.recording_id == setup.entries[0].id
    assert late.offset_ms == pytest.approx(1000 * (PRE_ROLL + 2), abs=300)
    one, two = setup.entries
    assert setup.missing(Cause.MUTED) == pytest.approx(20, abs=1.2)
    assert two.started.boot_ms >= one.started.boot_ms + one.duration_ms + 19_000


def test_a_mark_in_the_quiet_behind_a_voice_lies_within_its_file(tmp_path: Path) -> None:
    """The recording stays open a little longer than it lasts, in case somebody goes on speaking."""
    setup = voice_setup(tmp_path)
    mark = MarkRequest(0.0)

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(5, level=HUSH)
        yield from source.sound(2, level=VOICE)
        yield from source.sound(HANG + 1, level=HUSH)
        mark.at = setup.clock.boottime()
        recorder.mark(mark)
        yield from source.sound(5, level=HUSH)

    setup.record(ending(steps))
    (entry,) = setup.entries
    assert mark.offset_ms is not None
    assert mark.offset_ms <= entry.duration_ms


@pytest.mark.parametrize("spoken", [0.3, 0.6, 0.9, 1.5, 4.0])
def test_a_recording_by_hand_while_somebody_speaks(tmp_path: Path, spoken: float) -> None:
    """What was said until then is a recording with its pre-roll, however short; the one by hand is whole."""
    setup = voice_setup(tmp_path)
    request = ManualRequest(seconds=6)

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(10, level=HUSH)
        yield from source.sound(spoken, level=VOICE)
        recorder.start(request)
        yield from source.sound(8, level=HUSH)

    elapsed = setup.record(ending(steps))
    assert request.done.is_set()
    assert request.error is None
    voice, by_hand = setup.entries
    assert (voice.mode, by_hand.mode) == ("voice", "manual")
    assert voice.duration_ms == pytest.approx(1000 * (PRE_ROLL + spoken), abs=250)
    assert by_hand.duration_ms == 6000
    assert by_hand.started.boot_ms >= voice.started.boot_ms + voice.duration_ms - 1
    assert sum(setup.samples) / RATE + not_wanted(setup) == pytest.approx(elapsed)
    assert setup.missing() == 0


@pytest.mark.parametrize("end", ["mute", "stop", "lost"])
def test_a_voice_that_has_just_begun_is_not_lost(tmp_path: Path, end: str) -> None:
    """Half a second into it the recorder is muted or stopped, or the microphone is lost: it is recorded till then."""
    setup = voice_setup(tmp_path)

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(10, level=HUSH)
        yield from source.sound(0.5, level=VOICE)
        if end == "mute":
            recorder.turn_mute(on=True)
            setup.clock.after(5, lambda: recorder.turn_mute(on=False))
            yield from source.sound(5, level=HUSH)
        elif end == "lost":
            yield from source.lose(3)

    setup.record(ending(steps))
    (voice,) = setup.entries
    assert voice.duration_ms == pytest.approx(1000 * (PRE_ROLL + 0.5), abs=250)


@pytest.mark.parametrize("end", ["mute", "stop", "lost", "end of the file"])
@pytest.mark.parametrize("pause", [2.6, 3.2, 3.8, 4.3])
def test_a_voice_that_goes_on_right_before_the_end_is_not_lost(
    tmp_path: Path, end: str, pause: float
) -> None:
    """Behind a pause, in which the stretch is still open, somebody says half a second more, and then it ends."""
    setup = voice_setup(tmp_path)

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(10, level=HUSH)
        yield from source.sound(3, level=VOICE)
        yield from source.sound(pause, level=HUSH)
        yield from source.sound(0.5, level=VOICE)
        if end == "mute":
            recorder.turn_mute(on=True)
            setup.clock.after(5, lambda: recorder.turn_mute(on=False))
            yield from source.sound(5, level=HUSH)
        elif end == "lost":
            yield from source.lose(3)
        elif end == "end of the file":
            setup.clock.after(5, recorder.stop)
            yield EndOfSource()

    setup.record(ending(steps))
    assert sum(setup.samples) / RATE == pytest.approx(PRE_ROLL + 3 + pause + 0.5, abs=0.25)
    assert len(setup.entries) == 1
