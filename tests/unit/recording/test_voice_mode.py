"""Voice-activated recording: each stretch a session, the rest not wanted, and every second accounted for."""

from array import array
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from recording_setup import RecordingSetup
from simulated import RATE, Script, ScriptedSource

from agent.audio.detection.detector import SPEECH_FRAME, FrameFeed
from agent.config.schema import RecordingConfig, ScheduleWindow
from agent.errors import AgentError
from agent.gaps.log import Cause
from agent.recorder.account.memory import REMEMBERED
from agent.recording.asked.requests import ManualRequest, MarkRequest
from agent.recording.listening.standby import StandbySettings
from agent.recording.listening.voice import VoiceGate
from agent.recording.recorder import Recorder
from agent.status.board import State
from agent.status.condition import Condition, condition

PRE_ROLL, HANG = 2, 3
VOICE, HUSH = 3000, 30
"""Levels of the scripted source that the scripted detector takes for a voice, and for none."""

Steps = Callable[[ScriptedSource, Recorder], Script]


class Loud:
    """Hears a voice where it is loud."""

    frame_samples = SPEECH_FRAME
    needed, window = 4, 6

    def judge(self, frame: bytes) -> bool:
        """Tell by the peak."""
        return max(array("h", frame)) > 1000

    def reset(self) -> None:
        """Nothing is remembered."""


def gate() -> VoiceGate:
    """Return a gate with the scripted detector."""
    return VoiceGate(FrameFeed(Loud(), RATE, 1), RATE, 1, pre_roll=PRE_ROLL, hang=HANG)


def voice_setup(folder: Path, **settings: object) -> RecordingSetup:
    """Return a setup that records voices."""
    return RecordingSetup(
        folder,
        msgspec.structs.replace(RecordingConfig(mode="voice"), **settings),
        standby=StandbySettings(gate),
    )


def not_wanted(setup: RecordingSetup) -> float:
    """Return the seconds that were heard and belong to no recording."""
    return setup.recorder._standby.watch.not_wanted / RATE


def ending(steps: Steps) -> Steps:
    """Stop behind the last step."""

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from steps(source, recorder)
        recorder.stop()
        yield None

    return script


def test_each_stretch_is_a_recording_of_its_own(tmp_path: Path) -> None:
    """Two voices, two sessions of one segment, with what came before and after; recorded + not wanted = elapsed."""
    setup = voice_setup(tmp_path)

    def steps(source: ScriptedSource, _recorder: Recorder) -> Script:
        for _ in range(2):
            yield from source.sound(10, level=HUSH)
            yield from source.sound(4, level=VOICE)
        yield from source.sound(10, level=HUSH)

    elapsed = setup.record(ending(steps))
    one, two = setup.entries
    assert one.session_id != two.session_id
    assert {entry.mode for entry in setup.entries} == {"voice"}
    assert [entry.segment for entry in setup.entries] == [1, 1]
    for entry in setup.entries:
        assert entry.duration_ms == pytest.approx(1000 * (PRE_ROLL + 4 + HANG), abs=200)
    assert one.started.wall_ms == pytest.approx(1_767_225_600_000 + 8000, abs=200)
    assert sum(setup.samples) / RATE + not_wanted(setup) + setup.missing() == pytest.approx(elapsed)
    assert setup.missing() == 0


def test_it_is_shown_that_it_listens(tmp_path: Path) -> None:
    """Listening, recording, listening; the LED has a pattern of its own."""
    setup = voice_setup(tmp_path)
    seen: list[tuple[State, Condition]] = []

    def look() -> None:
        snapshot = setup.board.snapshot
        now = (snapshot.state, condition(snapshot, {"pending": 0}))
        if not seen or seen[-1] != now:
            seen.append(now)

    def steps(source: ScriptedSource, _recorder: Recorder) -> Script:
        for seconds, level in ((5, HUSH), (3, VOICE), (10, HUSH)):
            for item in source.sound(seconds, level=level):
                yield item
                look()

    setup.record(ending(steps))
    listening, recording = (State.LISTENING, Condition.LISTENING), (State.RECORDING, Condition.RECORDING)
    assert seen == [listening, recording, listening]


def test_a_long_stretch_is_cut_and_goes_on(tmp_path: Path) -> None:
    """Segments of one session, none of a sample lost between them."""
    setup = voice_setup(tmp_path, segment_seconds=5)

    def steps(source: ScriptedSource, _recorder: Recorder) -> Script:
        yield from source.sound(5, level=HUSH)
        yield from source.sound(12, level=VOICE)
        yield from source.sound(10, level=HUSH)

    elapsed = setup.record(ending(steps))
    assert [entry.segment for entry in setup.entries] == [1, 2, 3, 4]
    assert len({entry.session_id for entry in setup.entries}) == 1
    ends = [entry.started.wall_ms + entry.duration_ms for entry in setup.entries]
    assert ends[:-1] == [entry.started.wall_ms for entry in setup.entries[1:]]
    assert sum(setup.samples) / RATE + not_wanted(setup) == pytest.approx(elapsed)


def test_while_it_listens_the_card_rests(tmp_path: Path) -> None:
    """One small write a minute, which says until when it was listened, and nothing else."""
    steps_of_disk: list[str] = []
    setup = voice_setup(tmp_path)
    setup.sink.is_of_recorder = True

    def steps(source: ScriptedSource, _recorder: Recorder) -> Script:
        yield from source.sound(1, level=HUSH)
        setup.disk_fails = steps_of_disk.append
        yield from source.sound(600, level=HUSH)
        setup.disk_fails = lambda _step: None

    setup.record(ending(steps))
    assert {step.split(".")[0] for step in steps_of_disk} == {"finish"}
    assert sum("rename" in step for step in steps_of_disk) == 10
    until = REMEMBERED.decode((tmp_path / "recorder.json").read_bytes()).until
    assert until is not None
    assert until.wall_ms == pytest.approx(1_767_225_600_000 + 601_000, abs=300)


def test_a_lost_microphone_is_a_gap_from_the_newest_sample(tmp_path: Path) -> None:
    """While it listened, in the midst of a voice, and in the quiet behind one: what was heard is no gap."""
    setup = voice_setup(tmp_path)

    def steps(source: ScriptedSource, _recorder: Recorder) -> Script:
        yield from source.sound(10, level=HUSH)
        yield from source.lose(7)
        yield from source.sound(5, level=HUSH)
        yield from source.sound(5, level=VOICE)
        yield from source.lose(8)
        yield from source.sound(5, level=VOICE)
        yield from source.sound(HANG + 1, level=HUSH)
        yield from source.lose(9)
        yield from source.sound(5, level=HUSH)

    elapsed = setup.record(ending(steps))
    assert setup.missing(Cause.NO_MICROPHONE) == pytest.approx(24, abs=0.3)
    assert len(setup.entries) == 2
    total = sum(setup.samples) / RATE + not_wanted(setup) + setup.missing()
    assert total == pytest.approx(elapsed, abs=0.005)


def test_lost_samples_are_silence_within_a_stretch_and_a_gap_without(tmp_path: Path) -> None:
    """An overflow while it listens is noted as a gap; one in a recording is silence in it."""
    setup = voice_setup(tmp_path)

    def steps(source: ScriptedSource, _recorder: Recorder) -> Script:
        yield from source.sound(10, level=HUSH)
        setup.clock.sleep(1.0)
        yield from source.sound(10, level=HUSH, overflow=True)
        yield from source.sound(5, level=VOICE)
        setup.clock.sleep(0.7)
        yield from source.sound(5, level=VOICE, overflow=True)
        yield from source.sound(10, level=HUSH)

    elapsed = setup.record(ending(steps))
    (entry,) = setup.entries
    assert entry.gap_ms == pytest.approx(700, abs=5)
    assert setup.missing(Cause.OVERFLOW) == pytest.approx(1.0, abs=0.005)
    total = sum(setup.samples) / RATE + not_wanted(setup) + setup.missing()
    assert total == pytest.approx(elapsed, abs=0.005)


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


def test_a_full_card_is_said_and_waited_for(tmp_path: Path) -> None:
    """A stretch that finds no room is a gap; when there is room again it listens."""
    setup = voice_setup(tmp_path)
    full: list[AgentError] = []
    setup.storage_problem = lambda _was_full: full[0] if full else None

    def steps(source: ScriptedSource, _recorder: Recorder) -> Script:
        yield from source.sound(5, level=HUSH)
        full.append(AgentError("no room"))
        setup.clock.after(20, full.clear)
        yield from source.sound(2, level=VOICE)
        yield from source.sound(12, level=HUSH)
        yield from source.sound(2, level=VOICE)
        yield from source.sound(10, level=HUSH)

    setup.record(ending(steps))
    assert setup.board.snapshot.fault is None
    assert len(setup.entries) == 2
    assert setup.missing(Cause.STORAGE) == pytest.approx(19, abs=2)


def test_a_window_of_the_schedule_can_be_for_voices(tmp_path: Path) -> None:
    """Within it stretches are recorded, at its end the open one is finished, and behind it nothing is heard."""
    window = ScheduleWindow(start="0 0 * * *", minutes=1, voice=True, timezone="UTC")
    setup = RecordingSetup(
        tmp_path,
        RecordingConfig(mode="schedule", schedule=(window,)),
        standby=StandbySettings(gate),
    )

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        setup.clock.after(90, recorder.stop)
        yield from source.sound(40, level=HUSH)
        yield from source.sound(30, level=VOICE)

    setup.record(steps)
    (entry,) = setup.entries
    assert entry.mode == "schedule"
    assert entry.started.wall_ms == pytest.approx(1_767_225_600_000 + 38_000, abs=300)
    assert entry.ended_ms == pytest.approx(1_767_225_600_000 + 60_000, abs=1200)
    assert setup.missing() == 0


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
