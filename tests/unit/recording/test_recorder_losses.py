"""What the recorder does when source or disk fails: every second is recorded, or in the gap log."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from logcapture import capture_logs
from recording_setup import RecordingSetup
from simulated import RATE, Script, ScriptedSource

from agent.audio.source import SourceLost, SourceState
from agent.config.schema import RecordingConfig
from agent.disk import Disk
from agent.errors import AgentError
from agent.gaps.log import Cause, GapLog
from agent.gaps.tracker import GapTracker
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


def failing(step: str, number: int, *, times: int = 1, after: int = 0) -> Callable[[str], None]:
    """Return an observer under which a durable step fails, ``after`` it went well so many times."""
    seen = 0

    def observe(name: str) -> None:
        nonlocal seen
        if name == step:
            seen += 1
            if after < seen <= after + times:
                raise OSError(number, os.strerror(number))

    return observe


def test_what_was_captured_before_a_loss_is_queued_at_once_and_the_session_goes_on(tmp_path: Path) -> None:
    """The file is finished when the device is lost, the next begins when it is back, the gap is the gap log's."""
    setup = RecordingSetup(tmp_path, settings())
    seen: list[tuple[list[int], State]] = []

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(4.2)
        lost = source.lose(7.0)
        yield from lost
        seen.append((setup.samples, setup.board.snapshot.state))
        yield from source.sound(3)
        recorder.stop()

    elapsed = setup.record(script)

    assert seen == [([33_600], State.NO_MICROPHONE)]
    assert setup.samples == [33_600, 24_000]
    first, second = setup.entries
    assert (first.session_id, second.segment) == (second.session_id, 2)
    assert setup.missing(Cause.NO_MICROPHONE) == pytest.approx(7.0, abs=EXACT)
    assert setup.accounted == pytest.approx(elapsed, abs=EXACT)


@pytest.mark.parametrize("number", range(3))
def test_a_device_that_comes_and_goes_leaves_no_second_unaccounted(tmp_path: Path, number: int) -> None:
    """Ten losses, some before the first sound, some of a device that hangs: recorded + missing = elapsed."""
    setup = RecordingSetup(tmp_path, settings(segment_seconds=5))

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        if number == 0:
            yield from source.lose(6, SourceState.WAITING)
        for round_ in range(10):
            yield from source.sound(1.1 * (round_ % 4) + 0.1 * number)
            yield from source.lose(0.3 * round_, (SourceState.LOST, SourceState.WEDGED)[round_ % 2])
        yield from source.sound(1)
        recorder.stop()

    elapsed = setup.record(script)

    assert setup.accounted == pytest.approx(elapsed, abs=0.02)
    assert sum(setup.samples) == setup.source.given


def test_a_microphone_absent_at_boot_is_waited_for(tmp_path: Path) -> None:
    """Nothing is written until it is there; from then on it is recorded without anybody's help."""
    setup = RecordingSetup(tmp_path, settings())

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.lose(40, SourceState.WAITING)
        assert not list(tmp_path.glob("recording/*"))
        yield from source.sound(2)
        recorder.stop()

    elapsed = setup.record(script)

    assert setup.samples == [16_000]
    assert setup.missing(Cause.NO_MICROPHONE) > 39
    assert setup.accounted == pytest.approx(elapsed, abs=EXACT)


def test_a_full_disk_stops_recording_and_room_lets_it_go_on_within_30_seconds(tmp_path: Path) -> None:
    """The file is finished, the fault is said once, the margin is asked for, and the gap is the gap log's."""
    setup = RecordingSetup(tmp_path, settings(segment_seconds=600))
    full = False
    asked: list[bool] = []
    room_at = 0.0

    def problem(was_full: bool) -> AgentError | None:
        asked.append(was_full)
        return AgentError("the disk is full", "make room") if full else None

    def fill(value: bool) -> None:
        nonlocal full, room_at
        full = value
        room_at = setup.clock.monotonic()

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(12)
        fill(True)
        setup.clock.after(50, lambda: fill(False))
        yield from source.sound(5.2)
        setup.clock.after(4, recorder.stop)
        yield from source.sound(5)

    setup.storage_problem = problem
    with capture_logs() as said:
        elapsed = setup.record(script)

    first, second = setup.entries
    assert second.started.boot_ms / 1000 - room_at < 30
    assert first.session_id != second.session_id
    assert asked[0] is False
    assert True in asked
    assert [line["log_level"] for line in said if line["action"] == "storage_refused"].count("error") == 1
    assert setup.board.snapshot.fault is None
    assert setup.accounted == pytest.approx(elapsed, abs=LAST_BLOCK)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("after", [0, 1, 5, 11])
def test_a_disk_that_fails_in_the_middle_costs_what_the_gap_log_says(
    tmp_path: Path, number: int, after: int
) -> None:
    """A page is refused: the file is left to repair, recording goes on later, recorded + missing = elapsed."""
    setup = RecordingSetup(
        tmp_path, settings(segment_seconds=600), failing("write.page", number, after=after)
    )

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(1 + after)
        setup.clock.after(20, recorder.stop)
        yield from source.sound(30)

    elapsed = setup.record(script)
    setup.repair()

    assert setup.disk_failures == (number == errno.ENOSPC)
    assert [entry.recovered for entry in setup.entries] == [True, False][after == 0 :]
    assert setup.missing(Cause.STORAGE) > 9
    assert setup.accounted == pytest.approx(elapsed, abs=LAST_BLOCK)
    assert not list(tmp_path.glob("recording/*"))
    assert not list(tmp_path.glob("damaged/*"))


CALLED = {
    errno.ENOSPC: (State.STORAGE_FULL, "is full"),
    errno.EDQUOT: (State.STORAGE_FULL, "is full"),
    errno.EIO: (State.FAULT, "fails (Input/output error)"),
    errno.EUCLEAN: (State.FAULT, "fails (Structure needs cleaning)"),
    errno.ENODEV: (State.FAULT, "fails (No such device)"),
    errno.EROFS: (State.FAULT, "is read-only"),
    errno.ENOENT: (State.FAULT, "is not there; mount"),
    errno.EACCES: (State.FAULT, "no right to write"),
    errno.EMFILE: (State.FAULT, "Too many open files"),
}


@pytest.mark.parametrize("number", CALLED)
@pytest.mark.parametrize("step", ["open.create", "asked for room"])
def test_a_disk_that_refuses_is_called_what_it_is(tmp_path: Path, step: str, number: int) -> None:
    """Only a full disk is called full; the log says it once, and only a disk that fails itself is let go of."""
    setup = RecordingSetup(tmp_path, settings(), failing(step, number, times=100))
    seen: list[tuple[State, str | None, bool]] = []
    refused: list[bool] = []

    def no_answer(was_full: bool) -> AgentError | None:
        refused.append(was_full)
        raise OSError(number, os.strerror(number))

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        if step == "asked for room":
            setup.storage_problem = no_answer
        setup.clock.after(
            35,
            lambda: seen.append(
                (setup.board.snapshot.state, setup.board.snapshot.fault, recorder.disk_fails)
            ),
        )
        setup.clock.after(40, recorder.stop)
        yield from source.sound(60)

    with capture_logs() as said:
        setup.record(script)

    ((state, fault, fails),) = seen
    assert state is CALLED[number][0]
    assert CALLED[number][1] in (fault or "")
    assert fails == (number in {errno.EIO, errno.EUCLEAN, errno.ENODEV, errno.EROFS, errno.ENOENT})
    stopped = [line["log_level"] for line in said if line["event"] == "recording has stopped"]
    assert stopped.count("error") == 1
    assert len(stopped) > 1


@pytest.mark.parametrize("step", ["open.create", "open.headers", "open.sync", "open.sync_folder"])
def test_a_disk_that_refuses_to_open_is_tried_again_and_leaves_nothing_behind(
    tmp_path: Path, step: str
) -> None:
    """Five refusals leave no file, cost no row, and the gap log has one stretch that covers them all."""
    setup = RecordingSetup(tmp_path, settings(), failing(step, errno.ENOSPC, times=5))

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        setup.clock.after(70, recorder.stop)
        yield from source.sound(80)

    elapsed = setup.record(script)
    setup.repair()

    assert setup.disk_failures == 5
    assert not list(tmp_path.glob("damaged/*"))
    assert len([gap for gap in setup.gaps if gap.cause is Cause.STORAGE]) == 1
    assert setup.missing(Cause.STORAGE) > 49
    assert setup.accounted == pytest.approx(elapsed, abs=LAST_BLOCK)


@pytest.mark.parametrize("step", ["finish.last_page", "finish.sync", "finish.rename_audio"])
def test_a_disk_that_fails_at_the_finish_loses_no_finished_sample(tmp_path: Path, step: str) -> None:
    """Whatever step of Finish fails, repair and adoption bring the file back; the rest is in the gap log."""
    setup = RecordingSetup(tmp_path, settings(), failing(step, errno.EIO))

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        setup.clock.after(30, recorder.stop)
        yield from source.sound(40)

    elapsed = setup.record(script)
    setup.repair()

    assert setup.entries[0].samples >= 9 * RATE
    assert setup.accounted == pytest.approx(elapsed, abs=LAST_BLOCK)


def test_lost_samples_are_filled_with_silence_where_they_fall(tmp_path: Path) -> None:
    """An overflow of 1.5 s across a cut keeps the duration true, in both files' figures and in the gap log."""
    setup = RecordingSetup(tmp_path, settings())

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(8)
        setup.clock.sleep(1.5)
        yield from source.sound(12.5, overflow=True)
        recorder.stop()

    elapsed = setup.record(script)

    first, second, third = setup.entries
    # The loss is certain after eight late blocks: it is filled in at 8.8 s.
    assert (first.gap_ms, second.gap_ms, third.gap_ms) == (1300, 200, 0)
    assert (first.overflows, second.overflows, third.overflows) == (1, 1, 0)
    assert sum(setup.samples) / RATE == pytest.approx(elapsed, abs=EXACT)
    noted = {gap.recording_id: gap.milliseconds for gap in setup.gaps if gap.cause is Cause.OVERFLOW}
    assert noted == {first.id: 1300, second.id: 200}


def test_a_loss_that_ends_exactly_at_a_cut_is_noted(tmp_path: Path) -> None:
    """The file that the silence completes has it in its figures and in the gap log."""
    setup = RecordingSetup(tmp_path, settings())

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(8.5)
        setup.clock.sleep(0.8)
        yield from source.sound(3, overflow=True)
        recorder.stop()

    setup.record(script)

    first = setup.entries[0]
    assert (first.samples, first.gap_ms, first.overflows) == (80_000, 800, 1)
    assert [gap.milliseconds for gap in setup.gaps if gap.cause is Cause.OVERFLOW] == [800]


def test_attended_a_loss_ends_the_recording_with_what_there_is(tmp_path: Path) -> None:
    """The command ``record`` hears of the loss, and the file up to there is queued."""
    setup = RecordingSetup(tmp_path, settings(mode="manual"), unattended=False)

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        del recorder
        yield from source.sound(2)
        yield from source.lose(5)

    setup.clock.after(0, lambda: None)
    request = ManualRequest(seconds=10)
    with pytest.raises(SourceLost):
        setup.record(script, trigger=_StartsWith(setup, request))

    assert setup.samples == [16_000]
    assert request.done.is_set()
    assert setup.gaps == []


def test_attended_a_full_disk_is_an_error(tmp_path: Path) -> None:
    """The command ``record`` ends with the sentence that says what is full."""
    setup = RecordingSetup(
        tmp_path, settings(mode="manual"), unattended=False, storage_problem=lambda _: AgentError("no room")
    )

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        del recorder
        yield from source.sound(2)

    with pytest.raises(AgentError, match="no room"):
        setup.record(script, trigger=_StartsWith(setup, ManualRequest(seconds=1)))


class _StartsWith:
    """Nothing that the calendar asks for, but a request that is there from the start, as ``record`` makes it."""

    def __init__(self, setup: RecordingSetup, request: ManualRequest) -> None:
        self._setup = setup
        self._request: ManualRequest | None = request

    def spec(self) -> None:
        """Hand the request in at the first question."""
        if self._request is not None:
            self._setup.recorder.start(self._request)
            self._request = None


def test_a_storm_of_overflows_costs_a_line_a_minute_and_no_second(tmp_path: Path) -> None:
    """Five minutes with an overflow of 100 ms every second: all of it in the gap log, in a handful of writes."""
    writes: list[str] = []
    setup = RecordingSetup(tmp_path, settings(segment_seconds=600))
    setup.disk = Disk(writes.append)
    setup.gap_tracker = GapTracker(GapLog(tmp_path, setup.disk), setup.time_sync.elapsed_ms)

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(1)
        for _ in range(300):
            setup.clock.sleep(0.1)
            yield from source.sound(0.9, overflow=True)
        recorder.stop()

    setup.record(script)

    (entry,) = setup.entries
    lost = sum(gap.milliseconds or 0 for gap in setup.gaps if gap.cause is Cause.OVERFLOW)
    assert entry.overflows == 300
    assert entry.gap_ms == lost == pytest.approx(30_000, abs=50)
    assert writes.count("ledger.sync") <= 9
