"""The last minutes: a recording that is asked for begins with what was heard before, true to its time."""

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from opusfile import complaints, decode
from recording_setup import RecordingSetup
from simulated import RATE, Script, ScriptedSource
from speech import speech

from agent.audio.ogg import read_summary
from agent.audio.source import Block, SourceState
from agent.config.schema import OpusConfig, RecordingConfig
from agent.outbox.entry import Entry
from agent.recorder.account.memory import FILE, RECORDER_JSON
from agent.recording.asked.requests import Asked, ManualRequest
from agent.recording.binding import UNKNOWN
from agent.recording.listening.ring import PacketRing
from agent.recording.listening.standby import StandbySettings
from agent.recording.recorder import Recorder
from agent.status.board import State
from agent.status.condition import Condition, condition

BLOCK = 960
LAST = 20
PLAYED = np.frombuffer(speech(RATE, 1, 60 * RATE), "<i2")

Steps = Callable[[ScriptedSource, Recorder], Script]


class Room:
    """Speech that goes on in real time, whoever listens; its samples are a function of the moment."""

    def __init__(self, folder: Path, *, frame_ms: int = 20, max_seconds: int = 3600) -> None:
        self.setup = RecordingSetup(
            folder,
            RecordingConfig(mode="manual", keep_last_seconds=LAST, max_seconds=max_seconds),
            standby=StandbySettings(None, LAST),
            opus=msgspec.convert({"complexity": 1, "frame_ms": frame_ms}, OpusConfig),
        )
        self.clock = self.setup.clock
        self.began = self.clock.boottime()

    def samples(self, since: float, count: int) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
        """Return what is to be heard from a moment on."""
        first = round((since - self.began) * RATE)
        return np.asarray(PLAYED[np.arange(first, first + count) % len(PLAYED)], "<i2")

    def hear(self, source: ScriptedSource, seconds: float) -> Script:
        """Give what is to be heard, in blocks."""
        end = self.clock.boottime() + seconds
        while self.clock.boottime() < end - 1e-6:
            since = self.clock.boottime()
            self.clock.sleep(BLOCK / RATE)
            block = source.block(BLOCK)
            yield Block(block.sequence, block.captured_at, False, self.samples(since, BLOCK).tobytes())

    def run(self, steps: Steps) -> list[Entry]:
        """Play a script to its end; return what was recorded."""

        def script(source: ScriptedSource, recorder: Recorder) -> Script:
            yield from steps(source, recorder)
            recorder.stop()
            yield None

        self.setup.record(script)
        return self.setup.entries

    def is_true(self, entry: Entry, *seconds: float) -> bool:
        """Tell whether a file sounds, around some of its seconds, as it was at the times it claims.

        Without any it is looked at its first and last tenth of a second, and at three more. The decoded sound must
        fit within 1 ms of its place in what was played, about as well as anywhere near: a hiss is encoded roughly.
        """
        path = self.setup.outbox.files.audio(entry)
        assert complaints(path) == ""
        sound = np.frombuffer(decode(path, RATE), "<i2").astype(float)
        assert len(sound) == entry.samples
        length = entry.duration_ms / 1000
        moments = seconds or (0.0, length / 4, length / 2, 3 * length / 4, length - 0.1)
        return all(self._fits(sound, entry.started.boot_ms / 1000, moment) for moment in moments)

    def _fits(
        self, sound: "np.ndarray[tuple[int], np.dtype[np.float64]]", begin: float, moment: float
    ) -> bool:
        first, slack = round(moment * RATE), RATE // 10
        last = min(len(sound), first + RATE // 10)
        while last < len(sound) and np.abs(sound[first:last]).max() < 3000:
            last += RATE // 10  # in a pause nothing can be compared
        piece = sound[first:last]
        if np.abs(piece).max() < 3000:
            return True
        wanted = self.samples(begin + (first - slack) / RATE, len(piece) + 2 * slack).astype(float)
        windows = np.lib.stride_tricks.sliding_window_view(wanted, len(piece))
        fits = windows @ piece / (np.linalg.norm(windows, axis=1) * np.linalg.norm(piece) + 1)
        near = fits[slack - RATE // 1000 : slack + RATE // 1000 + 1]  # a vowel fits a period further on, too
        print(f"{moment:.1f} s: correlation {near.max():.3f} there, {fits.max():.3f} at its best")
        return bool(near.max() > 0.6 and near.max() > fits.max() - 0.1)


@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
def test_it_begins_with_the_last_seconds(tmp_path: Path, frame_ms: int) -> None:
    """Pressed at a random moment: the sound of 20 s before, true times, and its first tenth of a second as it was."""
    room, seed = Room(tmp_path, frame_ms=frame_ms), random.randrange(1 << 32)
    print("seed", seed)
    wait = random.Random(seed).uniform(25, 40)
    pressed = [0.0]

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from room.hear(source, wait)
        pressed[0] = room.clock.boottime()
        recorder.start(ManualRequest())
        yield from room.hear(source, 7)
        recorder.stop_manual()
        yield from room.hear(source, 1)

    (entry,) = room.run(steps)
    assert entry.started.boot_ms / 1000 == pytest.approx(pressed[0] - LAST, abs=0.07)
    assert entry.duration_ms == pytest.approx(1000 * (LAST + 7), abs=250)
    assert room.is_true(entry)
    assert room.is_true(entry, LAST - 0.2, LAST - 0.1, LAST, LAST + 0.1)
    head = read_summary(room.setup.outbox.files.audio(entry)).head
    assert head.pre_skip >= 3840
    assert entry.peak_dbfs is not None
    assert entry.rms_dbfs is not None
    whole = room.samples(entry.started.boot_ms / 1000, entry.samples).astype(float)
    assert entry.rms_dbfs == pytest.approx(20 * np.log10(np.sqrt((whole**2).mean()) / 32768), abs=0.1)
    assert entry.peak_dbfs == pytest.approx(20 * np.log10(np.abs(whole).max() / 32768), abs=0.1)


def test_what_there_is_when_it_was_not_long(tmp_path: Path) -> None:
    """Two seconds after the start a recording begins with those, and a file that begins at the beginning."""
    room = Room(tmp_path)

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from room.hear(source, 2.4)
        recorder.start(ManualRequest(seconds=3))
        yield from room.hear(source, 5)

    (entry,) = room.run(steps)
    assert entry.duration_ms == pytest.approx(5400, abs=250)
    assert entry.started.boot_ms / 1000 == pytest.approx(room.began, abs=0.02)
    assert room.is_true(entry)


def test_the_length_that_is_asked_for_counts_from_the_press(tmp_path: Path) -> None:
    """And a test recording begins where it is asked for."""
    room = Room(tmp_path)

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from room.hear(source, 30)
        recorder.start(ManualRequest(seconds=3))
        yield from room.hear(source, 30)
        recorder.start(ManualRequest(seconds=3, from_now=True))
        yield from room.hear(source, 5)

    first, second = room.run(steps)
    assert first.duration_ms == pytest.approx(1000 * (LAST + 3), abs=25)
    assert second.duration_ms == 3000
    assert room.is_true(first)
    assert room.is_true(second)


def test_no_sample_is_in_two_recordings(tmp_path: Path) -> None:
    """The next one begins at the earliest where the last one ended."""
    room = Room(tmp_path)

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from room.hear(source, 30)
        for _ in range(3):
            recorder.start(ManualRequest(seconds=2))
            yield from room.hear(source, 7)

    entries = room.run(steps)
    assert len(entries) == 3
    for before, after in itertools.pairwise(entries):
        assert after.started.boot_ms >= before.started.boot_ms + before.duration_ms - 1
        assert after.duration_ms == pytest.approx(7000, abs=300)
    assert all(room.is_true(entry) for entry in entries)


def test_it_is_cut_as_any_recording(tmp_path: Path) -> None:
    """The first file holds the last seconds, and the next ones follow to the sample."""
    room = Room(tmp_path, max_seconds=25)

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from room.hear(source, 30)
        recorder.start(ManualRequest(seconds=40))
        yield from room.hear(source, 45)

    entries = room.run(steps)
    assert [round(entry.duration_ms / 1000) for entry in entries] == [25, 25, 10]
    assert all(room.is_true(entry) for entry in entries)


@pytest.mark.parametrize("how", ["lost samples", "lost microphone"])
def test_time_stays_true_across_what_was_lost(tmp_path: Path, how: str) -> None:
    """Silence stands in the place of it, and the metadata says how much."""
    room = Room(tmp_path)

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from room.hear(source, 30)
        if how == "lost samples":
            room.clock.sleep(3.0)
        else:
            yield from source.lose(3.0)
        yield from room.hear(source, 8)
        recorder.start(ManualRequest(seconds=4))
        yield from room.hear(source, 6)

    (entry,) = room.run(steps)
    assert entry.gap_ms == pytest.approx(3000, abs=300)
    assert entry.duration_ms == pytest.approx(1000 * (LAST + 4), abs=25)
    assert room.is_true(entry, 0, 2, 4, 6, 14, 18, 22)


def test_a_microphone_that_is_away_when_it_is_asked_for(tmp_path: Path) -> None:
    """What was heard before is a file at once; what comes when it is back is the next one."""
    room = Room(tmp_path)

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from room.hear(source, 30)
        yield from source.lose(2.0)
        recorder.start(ManualRequest(seconds=30))
        yield from source.nothing(3.0)
        yield from room.hear(source, 6)
        recorder.stop_manual()
        yield from room.hear(source, 1)

    first, second = room.run(steps)
    assert first.duration_ms == pytest.approx(1000 * (LAST - 2), abs=150)
    assert first.session_id == second.session_id
    assert room.is_true(first)
    assert room.is_true(second)


def test_what_an_earlier_run_was_asked_for_is_noted_before_it_is_forgotten(tmp_path: Path) -> None:
    """Asked for another one before there is any sound: a kill right after would leave nobody who knows of the first."""
    room = Room(tmp_path)
    setup, remembered = room.setup, []
    setup.sink.is_of_recorder = True
    earlier = Asked(setup.time_sync.at_boot(0.0))
    setup.sink.asked(earlier)
    setup.before = lambda _began: remembered.append(
        RECORDER_JSON.decode((tmp_path / FILE).read_bytes()).asked
    )

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        source.state = SourceState.LISTENING
        recorder.start(ManualRequest(seconds=2))
        yield None
        yield from room.hear(source, 5)

    room.run(steps)
    assert remembered == [earlier]


def test_what_is_asked_for_without_a_microphone_is_missing_for_its_length(tmp_path: Path) -> None:
    """It is away for a minute, and a recording of five seconds is asked for: that much is missing, and no more."""
    room = Room(tmp_path)

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from room.hear(source, 3)
        room.clock.after(10, lambda: recorder.start(ManualRequest(seconds=5)))
        yield from source.lose(60)
        yield from room.hear(source, 3)

    room.run(steps)
    assert room.setup.missing() == pytest.approx(5, abs=1)


def test_a_mute_empties_it(tmp_path: Path) -> None:
    """What was said before the mute is in no recording after it."""
    room = Room(tmp_path)
    ended = [0.0]

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from room.hear(source, 30)
        recorder.turn_mute(on=True)
        ended[0] = room.clock.boottime()
        room.clock.after(4, lambda: recorder.turn_mute(on=False))
        yield from room.hear(source, 6)
        recorder.start(ManualRequest(seconds=2))
        yield from room.hear(source, 4)

    (entry,) = room.run(steps)
    assert entry.started.boot_ms / 1000 >= ended[0] + 4
    assert room.is_true(entry)
    assert room.setup.gaps == []


def test_another_owner_gets_nothing_of_it(tmp_path: Path) -> None:
    """What was heard while the device belonged to somebody else is forgotten when it changes hands."""
    room = Room(tmp_path)
    owner = ["aaaaaaaa"]
    room.setup.binding = lambda: owner[0]
    changed = [0.0]

    def steps(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from room.hear(source, 30)
        owner[0] = UNKNOWN
        changed[0] = room.clock.boottime()
        yield from room.hear(source, 5)
        recorder.start(ManualRequest(seconds=2))
        yield from room.hear(source, 4)

    (entry,) = room.run(steps)
    assert entry.started.boot_ms / 1000 == pytest.approx(changed[0], abs=0.02)


def test_it_is_shown_that_it_listens(tmp_path: Path) -> None:
    """In status and by the LED; without the setting it hears nothing."""
    room = Room(tmp_path)
    seen: list[tuple[State, Condition]] = []

    def steps(source: ScriptedSource, _recorder: Recorder) -> Script:
        for block in room.hear(source, 3):
            yield block
            snapshot = room.setup.board.snapshot
            seen.append((snapshot.state, condition(snapshot, {"pending": 0})))

    assert room.run(steps) == []
    assert set(seen[1:]) == {(State.LISTENING, Condition.LISTENING)}
    assert room.setup.gaps == []


def test_half_an_hour_of_it_takes_eight_megabytes(tmp_path: Path) -> None:
    """At 32 kbit/s, however long it listens; measured in what its own containers hold."""
    from agent.audio.opus import OpusEncoder
    from agent.recording.listener import HeardBlock

    encoder = OpusEncoder(OpusConfig(complexity=0), 16000, 1)
    ring = PacketRing(encoder, 16000, 1, 60)
    sound = speech(16000, 1, 16000)
    sizes = []
    for second in range(240):
        ring.take(HeardBlock(Block(second, second + 1.0, False, sound), 0, 0, float(second)))
        sizes.append(ring.size_bytes)
    assert max(sizes[120:]) <= max(sizes[62:120])
    half_an_hour = sizes[-1] / 62 * 1802
    assert half_an_hour < 8_600_000
    print(f"{half_an_hour / 1e6:.1f} MB for half an hour", tmp_path)
