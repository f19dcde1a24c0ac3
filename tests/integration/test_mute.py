"""A muted recorder: nothing is captured, restarts included, and the gap log has what was wanted meanwhile."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import contextlib
import errno
import signal
import threading
from datetime import datetime
from pathlib import Path

import pytest
from acceptance import Machine, machine, server, wait_for
from logcapture import capture_logs
from recording_setup import RecordingSetup
from simulated import Script, ScriptedSource
from speech import speech, write_wav

from agent.config.schema import RecordingConfig
from agent.disk import Disk
from agent.gaps.log import Cause
from agent.recording.asked.mute import Mute
from agent.recording.asked.requests import ManualRequest
from agent.recording.recorder import Recorder
from agent.status.board import State
from agent.status.condition import Condition, condition

EXACT = 0.003
"""Seconds; the gap log counts milliseconds."""
LOOK = 1.01
"""Seconds in which an unmuted recorder goes on, at the latest."""
NOTHING_WAITS = {"pending": 0}


def test_a_mute_ends_the_file_and_frees_the_microphone_until_it_is_taken_back(tmp_path: Path) -> None:
    """What was captured is queued, the device is let go of, the gap is the gap log's, and another session begins."""
    setup = RecordingSetup(tmp_path, RecordingConfig(segment_seconds=600))
    seen: list[tuple[list[int], State, Condition, int, float]] = []

    def look() -> None:
        now = setup.board.snapshot
        seen.append(
            (
                setup.samples,
                now.state,
                condition(now, NOTHING_WAITS),
                setup.source.closed,
                setup.board.since_progress(),
            )
        )
        setup.recorder.turn_mute(on=False)

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(4.2)
        setup.clock.after(40, look)
        recorder.turn_mute(on=True)
        yield from source.sound(0.1)
        yield from source.sound(3)
        recorder.stop()

    elapsed = setup.record(script)

    ((samples, state, shown, closed, since_progress),) = seen
    assert (samples, state, shown, closed) == ([34_400], State.MUTED, Condition.MUTED, 1)
    assert since_progress <= LOOK
    assert setup.missing(Cause.MUTED) == pytest.approx(40, abs=LOOK)
    assert setup.missing() == setup.missing(Cause.MUTED)
    assert setup.accounted == pytest.approx(elapsed, abs=EXACT)
    first, second = setup.entries
    assert first.session_id != second.session_id


def test_a_manual_recording_is_finished_by_a_mute_and_none_begins_until_it_is_over(tmp_path: Path) -> None:
    """The one that runs is kept; one asked for while muted is refused with a sentence; nothing was wanted."""
    setup = RecordingSetup(tmp_path, RecordingConfig(mode="manual"))
    first, second = ManualRequest(), ManualRequest(seconds=5)

    def ask_while_muted() -> None:
        setup.recorder.start(second)

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(2)
        setup.clock.after(10, ask_while_muted)
        setup.clock.after(20, recorder.stop)
        recorder.turn_mute(on=True)
        yield from source.sound(0.1)

    setup.clock.after(1, lambda: setup.recorder.start(first))
    setup.record(script)

    assert first.error is None
    assert [entry.id for entry in setup.entries] == first.finished_ids
    assert second.done.is_set()
    assert str(second.error) == "the recorder is muted; `recorder-agent unmute` first"
    assert setup.gaps == []


@pytest.mark.parametrize("step", ["mute.create", "mute.sync", "mute.rename"])
def test_a_disk_that_refuses_does_not_stop_a_mute(tmp_path: Path, step: str) -> None:
    """Silence is kept at once whatever the disk says, and that it would not outlive a restart is said."""

    def refuse(name: str) -> None:
        if name == step:
            raise OSError(errno.ENOSPC, "injected")

    setup = RecordingSetup(tmp_path, RecordingConfig())
    setup.disk = Disk(refuse)

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(2)
        setup.clock.after(5, recorder.stop)
        recorder.turn_mute(on=True)
        yield from source.sound(0.1)
        yield from source.sound(100)

    with capture_logs() as logs:
        setup.record(script)
    assert setup.samples == [16_800]
    assert [line["log_level"] for line in logs if line["action"] == "mute_failed"] == ["error"]


def test_turned_from_two_sides_at_once_memory_and_disk_agree(tmp_path: Path) -> None:
    """A button and a command meet in the middle of each other: what holds now is what a restart finds."""
    turning = threading.Barrier(2)

    def meet(step: str) -> None:
        if step in {"mute.rename", "unmute.unlink"}:
            with contextlib.suppress(threading.BrokenBarrierError):
                turning.wait(0.2)  # the other side has all the time it wants to come in between

    mute = Mute(tmp_path, Disk(meet))
    for _ in range(5):
        sides = [threading.Thread(target=mute.turn, kwargs={"on": on}) for on in (True, False, None)]
        for side in sides:
            side.start()
        for side in sides:
            side.join()
        assert Mute(tmp_path, Disk()).is_on == mute.is_on
        turning.reset()


def test_without_a_daemon_a_mute_that_the_disk_refuses_is_an_error(tmp_path: Path) -> None:
    """Nobody is told "muted" of something that the next start will not know."""

    def refuse(_step: str) -> None:
        raise OSError(errno.EROFS, "injected")

    mute = Mute(tmp_path, Disk(refuse))
    assert mute.turn(on=True) is True
    assert not mute.is_durable
    assert not Mute(tmp_path, Disk()).is_on


def test_a_mute_survives_a_kill_and_is_taken_back_by_hand(machine: Machine, tmp_path: Path) -> None:
    """A real daemon: muted, killed, started again, still muted; unmuted without a daemon, it records."""
    write_wav(tmp_path / "speech.wav", 16_000, 1, speech(16_000, 1, 320_000))
    machine.configure(audio={"input": f"file:{tmp_path / 'speech.wav'}?loop"}, heartbeat={"enabled": False})
    with machine.daemon() as daemon:
        wait_for(lambda: daemon.status()["recording"] is not None)
        assert machine.ok("mute").out == "muted\n"
        wait_for(lambda: daemon.status()["state"] == "muted")
        assert daemon.status()["microphone"]["state"] == "closed"
        assert "muted" in machine.run("record", "--seconds", "1").sentence(1)
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait(10)
    with machine.daemon() as daemon:
        wait_for(lambda: daemon.status()["state"] == "muted")
        assert daemon.stop() == 0
    assert "muted" in machine.run("record", "--seconds", "1").sentence(
        1
    )  # nor does a recorder without a daemon
    assert machine.ok("unmute", "--json").json == {"muted": False, "durable": True}
    with machine.daemon() as daemon:
        wait_for(lambda: daemon.status()["state"] == "recording")
        assert daemon.stop() == 0
    first, *_, last = machine.queue()
    gaps = [gap for gap in machine.ok("gaps", "--json").json if gap["from"] >= first["ended_at"]]
    assert [gap["cause"] for gap in gaps].count("muted") >= 2
    # The first was open when the process was killed: it ends with the next start, and no second stands twice.
    between = datetime.fromisoformat(last["started_at"]) - datetime.fromisoformat(first["ended_at"])
    assert sum(gap["seconds"] for gap in gaps) == pytest.approx(between.total_seconds(), abs=0.01)
