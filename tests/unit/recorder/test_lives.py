"""Simulated lives of a recorder: kills, power cuts, suspends, wrong clocks, lost microphones, full and failing cards.

``LIVES`` says how many, and ``LIVES_FROM`` repeats those of an earlier run. The controls break the account by a
millisecond, or leave out the reading of a torn file, and must be found.
"""

import gc
import logging
import os
import random
import sys
from collections.abc import Iterator
from typing import BinaryIO

import msgspec
import pytest
from simulated_days import day_faults, report_faults
from simulated_life import Life
from simulated_machine import Card, SilentEncoder
from simulated_verdict import life_faults

from agent.clock import Instant
from agent.recorder.account import earlier, open_days
from agent.recorder.account.daybook import DayBook
from agent.recorder.account.downtime import Downtime
from agent.recorder.account.earlier import RecordedSpan
from agent.recorder.account.memory import Memory
from agent.recording import segment_factory
from agent.recording.days import days
from agent.recording.listening.voice import Event, VoiceGate
from agent.recording.segment_factory import SegmentFactory
from agent.recording.triggers import Schedule

# What dies leaves its files open; a process would leave that to the kernel.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LIVES = int(os.environ.get("LIVES", "200"))
CONTROLS = 40
"""So many lives at most until a control is found."""


@pytest.fixture(autouse=True)
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Encode nothing, and log nothing."""
    monkeypatch.setattr(segment_factory, "OpusEncoder", SilentEncoder)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    gc.collect()  # what the dead have left open is this test's, and no later one's


def lived(seed: int, mode: str | None = None) -> list[str]:
    """Live one life, unless it is of another mode; return what did not come out."""
    life = Life(seed)
    try:
        if mode not in {None, life.mode}:
            return []
        life.live(random.Random(seed).randint(2, 8))
        faults = [*life_faults(life), *report_faults(life)]
        life.live_on(hours=50)
        faults += day_faults(life)
        return [f"life {seed}, {life.mode}: {fault}" for fault in faults]
    finally:
        life.close()


def seeds(count: int) -> list[int]:
    """Return fresh seeds, and say which."""
    first = int(os.environ.get("LIVES_FROM", random.SystemRandom().getrandbits(32)))
    sys.stdout.write(f"lives from {first}\n")
    return [first + number for number in range(count)]


def test_every_second_of_every_life_is_accounted_for() -> None:
    """Recorded + not wanted + gaps = elapsed, whatever happens."""
    faults = [fault for seed in seeds(LIVES) for fault in lived(seed)]
    assert not faults, "\n".join(faults[:20])


def found_by_some_life(mode: str | None = None, count: int = CONTROLS) -> bool:
    """Whether one of some lives does not come out."""
    return any(lived(seed, mode) for seed in seeds(count))


def test_control_an_absence_that_begins_a_millisecond_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of what was recorded and the start of the gap behind it, a millisecond the wrong way round."""
    newest = Downtime._newest

    def early(self: Downtime, moments: list[Instant]) -> Instant | None:
        found = newest(self, moments)
        return found and msgspec.structs.replace(found, boot_ms=max(0, found.boot_ms - 1))

    monkeypatch.setattr(Downtime, "_newest", early)
    assert found_by_some_life()


def test_control_a_cut_that_begins_a_millisecond_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a file and the start of the next."""
    begins = SegmentFactory.begins

    def late(self: SegmentFactory, seconds: float) -> Instant:
        found = begins(self, seconds)
        return msgspec.structs.replace(found, boot_ms=found.boot_ms + (found == self.until))

    monkeypatch.setattr(SegmentFactory, "begins", late)
    assert found_by_some_life()


def test_control_a_torn_file_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its last granule the absence would begin where the torn file begins."""

    def unread(_files: object, stem: str) -> tuple[str, Instant, Instant]:
        raise FileNotFoundError(stem)

    monkeypatch.setattr(earlier, "_from_audio", unread)
    monkeypatch.setattr(earlier, "AGAIN_SECONDS", 0.0)
    assert found_by_some_life()


def test_control_a_file_that_a_kill_left_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a look at the files at a start, the day would lack what was recorded last."""
    recount = DayBook.recount

    def nothing_found(
        self: DayBook, _found: list[RecordedSpan], began: Instant, missing: Instant | None = None
    ) -> None:
        recount(self, [], began, missing)

    monkeypatch.setattr(DayBook, "recount", nothing_found)
    assert found_by_some_life()


def test_control_a_file_that_is_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest file of an earlier run, counted when it was finished and again at the next start."""
    recount = DayBook.recount

    def again(
        self: DayBook, found: list[RecordedSpan], began: Instant, missing: Instant | None = None
    ) -> None:
        self._memory.account.counted = 0
        recount(self, found, began, missing)

    monkeypatch.setattr(DayBook, "recount", again)
    assert found_by_some_life()


def test_control_a_midnight_that_is_a_second_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a day."""
    monkeypatch.setattr(
        open_days, "split", lambda begin, end, zone: days.split(begin - 1000, end - 1000, zone)
    )
    assert found_by_some_life(count=5 * CONTROLS)


def test_control_what_a_person_asked_for_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memory of the recording that was asked for, what a kill cuts off it is missing in no gap."""
    monkeypatch.setattr(Memory, "ask", lambda _memory, _asked: None)
    assert found_by_some_life("manual", 2 * CONTROLS)


def test_control_more_is_said_to_be_listened_to_than_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only voices are recorded, a moment without sound is neither recorded nor listened to."""
    ended = SegmentFactory.ended

    def late(self: SegmentFactory, seconds: float, until: Instant) -> None:
        ended(self, seconds, until.later(5000))

    monkeypatch.setattr(SegmentFactory, "ended", late)
    assert found_by_some_life("voice", 5 * CONTROLS)


def test_control_what_waits_for_the_detector_is_forgotten_at_an_interruption(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a voice that has just begun, up to a second is nowhere where a stop or a mute follows at once."""
    reset = VoiceGate.reset

    def unjudged(self: VoiceGate) -> list[Event]:
        self._unjudged = b""
        return reset(self)

    monkeypatch.setattr(VoiceGate, "reset", unjudged)
    assert found_by_some_life("voice", 40 * CONTROLS)


def test_control_a_gap_lasts_beyond_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suspend over the end of a window is missing up to that end alone."""

    def whole(_schedule: Schedule, start: Instant, end: Instant) -> int:
        return end.boot_ms - start.boot_ms

    monkeypatch.setattr(Schedule, "wanted_ms", whole)
    assert found_by_some_life("schedule", 40 * CONTROLS)


@pytest.mark.parametrize("step", ["open.number.sync", "finish.until.sync"])
def test_control_a_power_cut_tears_what_was_remembered(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Recordings and their numbers can do without these syncs of recorder.json (power cuts); the account cannot.

    Without those of its folder an older recorder.json comes back, whole, and the files tell the rest.
    """
    sync = Card.sync

    def left_out(self: Card, file: BinaryIO, name: str) -> None:
        if name != step:
            sync(self, file, name)

    monkeypatch.setattr(Card, "sync", left_out)
    assert found_by_some_life(count=15 * CONTROLS)
