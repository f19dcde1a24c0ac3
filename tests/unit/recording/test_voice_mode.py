"""Voice-activated recording: each stretch a session, the rest not wanted, and every second accounted for."""

import errno
from pathlib import Path

import pytest
from recording_setup import RecordingSetup
from simulated import RATE, Script, ScriptedSource, SimulatedClock
from voice_mode import HANG, HUSH, PRE_ROLL, VOICE, ending, gate, not_wanted, voice_setup

from agent.config.schema import RecordingConfig, ScheduleWindow
from agent.errors import AgentError
from agent.gaps.log import Cause
from agent.recorder.account.memory import RECORDER_JSON
from agent.recording.listening.standby import StandbySettings
from agent.recording.recorder import Recorder
from agent.status.board import State
from agent.status.condition import Condition, condition


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
    until = RECORDER_JSON.decode((tmp_path / "recorder.json").read_bytes()).until
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


def test_a_full_card_is_said_and_waited_for(tmp_path: Path) -> None:
    """A stretch that finds no room is a gap from its pre-roll on; when there is room again it listens."""
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
    (gap,) = (gap for gap in setup.gaps if gap.cause is Cause.STORAGE)
    assert gap.start.boot_ms == pytest.approx(1_000_000 + 1000 * (5 - PRE_ROLL), abs=200)
    assert setup.missing(Cause.STORAGE) == pytest.approx(22, abs=2)


def test_a_stretch_that_the_disk_refuses_is_missing_from_its_pre_roll_on(tmp_path: Path) -> None:
    """The file cannot be created when the voice is found: what was held for it in memory is lost, and said."""
    setup = voice_setup(tmp_path)
    refused: list[str] = []

    def refuse(step: str) -> None:
        if step == "open.create" and not refused:
            refused.append(step)
            raise OSError(errno.EIO, "injected")

    setup.disk_fails = refuse

    def steps(source: ScriptedSource, _recorder: Recorder) -> Script:
        yield from source.sound(10, level=HUSH)
        yield from source.sound(3, level=VOICE)
        yield from source.sound(40, level=HUSH)

    setup.record(ending(steps))
    assert refused
    (gap,) = (gap for gap in setup.gaps if gap.cause is Cause.STORAGE)
    assert gap.start.boot_ms == pytest.approx(1_000_000 + 1000 * (10 - PRE_ROLL), abs=200)


def test_a_disk_that_fails_as_the_machine_wakes_up_costs_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody speaks on, and the file from before the suspend cannot be finished: its gap ends where sound goes on."""
    asleep = 0.0
    failed: list[str] = []
    setup = voice_setup(tmp_path)
    monkeypatch.setattr(SimulatedClock, "boottime", lambda self: self.monotonic() + asleep)

    def refuse(step: str) -> None:
        if asleep and step == "finish.last_page" and not failed:
            failed.append(step)
            raise OSError(errno.EIO, "injected")

    setup.disk_fails = refuse

    def steps(source: ScriptedSource, _recorder: Recorder) -> Script:
        nonlocal asleep
        yield from source.sound(5, level=HUSH)
        yield from source.sound(4, level=VOICE)
        asleep = 12.0
        yield from source.sound(6, level=VOICE)
        yield from source.sound(10, level=HUSH)

    setup.record(ending(steps))
    setup.repair()
    assert failed
    before, after = setup.entries
    gaps = [gap for gap in setup.gaps if gap.end is not None]
    assert setup.missing() == pytest.approx(
        (after.started.boot_ms - before.started.boot_ms - before.duration_ms) / 1000
    )
    assert max(gap.end.boot_ms for gap in gaps if gap.end) == after.started.boot_ms


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


@pytest.mark.parametrize("quiet", [1.0, 4.0, 4.7])
def test_a_suspend_in_the_quiet_behind_a_voice_is_missing_from_the_newest_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: float
) -> None:
    """The stretch is still open for a voice that may follow; what was listened to behind its file is not missing."""
    asleep = 0.0
    setup = voice_setup(tmp_path)
    monkeypatch.setattr(SimulatedClock, "boottime", lambda self: self.monotonic() + asleep)

    def steps(source: ScriptedSource, _recorder: Recorder) -> Script:
        nonlocal asleep
        yield from source.sound(5, level=HUSH)
        yield from source.sound(4, level=VOICE)
        yield from source.sound(quiet, level=HUSH)
        asleep = 12.0

    setup.record(ending(steps))
    (gap,) = setup.gaps
    assert gap.cause is Cause.NOT_RUNNING
    assert gap.start.boot_ms == pytest.approx(1_000_000 + 1000 * (9 + quiet), abs=130)
    assert setup.missing() == pytest.approx(12, abs=0.3)
