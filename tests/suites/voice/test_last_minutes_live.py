"""The last minutes with real recorders at the virtual microphone, which plays the time: is what they begin with true?

A second recorder that records all the time hears the same: where its sound stands, by its own clock, there the same
sound must stand in the recordings of the first, to 50 ms. What the sound itself says of the time is shown: on a busy
machine the player is late.
"""

import itertools
import os
import random
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest
from acceptance import Json, Machine, wait_for
from listening import at_the_microphone, pause, recorder, say, status
from numpy.typing import NDArray
from timecode import HEARD_RATE, Player, code_time, decoded
from virtual_microphone import VirtualMicrophone

from agent.control.server import ask
from agent.process.state_directory import StateDirectory

PRESSES = int(os.environ.get("PRESSES", "8"))
LAST = 8
CUT_SECONDS = 11
OFF_SECONDS = 0.05
"""How true the time of each sample must be."""
ASKED_SECONDS = 0.3
"""Within so much the recorder hears of the press."""
SLACK_SECONDS = 0.3
"""How far it is looked for."""
ALIKE = 0.7
"""The least correlation of a second that was encoded twice."""
SOUNDS = 300.0
"""RMS of a second in which there is something to compare."""

Sound = NDArray[np.float64]


class Stage:
    """A microphone that hears the time, a recorder that keeps the last seconds, and one that records all of it."""

    def __init__(self, folder: Path) -> None:
        self.microphone = VirtualMicrophone(folder / "mic")
        self.microphone.start()
        self.monotonic, self.wall = time.monotonic(), time.time()
        self.player = Player(self.microphone.env, self.monotonic)
        self.player.play()
        self.keeping = at_the_microphone(
            folder / "keeping",
            self.microphone,
            mode="manual",
            keep_last_seconds=LAST,
            max_seconds=CUT_SECONDS,
        )
        self.always = at_the_microphone(
            folder / "always", self.microphone, mode="continuous", segment_seconds=60
        )

    def now(self) -> float:
        """Return the seconds since the time was zero."""
        return time.monotonic() - self.monotonic

    def started(self, row: Json) -> float:
        """Return when a recording says that it began, by the same clock."""
        return datetime.fromisoformat(row["started_at"]).timestamp() - self.wall

    def unplug(self) -> None:
        """Let the microphone be lost for a while."""
        self.microphone.kill()
        self.player.stop()
        pause(1.5)
        self.microphone.start()
        self.player.play()

    def all_that_was_heard(self) -> Sound:
        """Return what the other recorder has, each sample at its time; nothing where it has nothing."""
        heard = np.zeros(round((self.now() + 1) * HEARD_RATE))
        for row in self.always.queue():
            sound, at = decoded(Path(row["path"])).astype(float), round(self.started(row) * HEARD_RATE)
            heard[at : at + len(sound)] = sound
        return heard


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Give a microphone that hears the time."""
    made = Stage(tmp_path)
    yield made
    made.player.stop()
    made.microphone.stop()


def press(machine: Machine, stage: Stage, seconds: float) -> float:
    """Start a recording, and stop it after so many seconds; return when it was asked for."""
    asked = stage.now()
    ask(StateDirectory(machine.state, machine.state).socket, {"command": "start"})
    pause(seconds)
    machine.ok("stop")
    wait_for(lambda: status(machine)["state"] == "listening")
    return asked


def lateness(sound: Sound, began: float, heard: Sound) -> list[float]:
    """Return how much later each second of a recording is than the same sound where it was heard all the time."""
    slack = round(SLACK_SECONDS * HEARD_RATE)
    found = []
    for begin in range(0, len(sound) - HEARD_RATE, HEARD_RATE):
        piece = sound[begin : begin + HEARD_RATE]
        at = round(began * HEARD_RATE) + begin - slack
        wanted = heard[max(0, at) : at + HEARD_RATE + 2 * slack]
        if len(wanted) < HEARD_RATE + 2 * slack or np.sqrt((piece**2).mean()) < SOUNDS:
            continue
        size = 1 << (len(wanted) + len(piece)).bit_length()
        product = np.fft.rfft(wanted, size) * np.conj(np.fft.rfft(piece, size))
        place = int(np.argmax(np.fft.irfft(product, size)[: 2 * slack + 1]))
        likeness = np.corrcoef(wanted[place : place + HEARD_RATE], piece)[0, 1]
        assert likeness > ALIKE, f"{likeness:.2f} at {began + begin / HEARD_RATE:.2f} s"
        found.append((slack - place) / HEARD_RATE)
    return found


def silence_of(row: Json) -> int:
    """Return for how many milliseconds of a recording silence stands, by its sidecar."""
    sidecar = msgspec.json.decode(Path(row["path"]).with_suffix(".json").read_bytes())
    return int(sidecar.get("gap_ms", 0))


def killed_while_keeping(
    machine: Machine, presses: Iterator[tuple[float, float]], stage: Stage
) -> list[float]:
    """Press, unplug half-way, and kill; return when each recording was asked for, and the moment of the kill."""
    asked = []
    with recorder(machine, "listening") as process:
        pause(LAST + 2)
        for number, (wait, length) in enumerate(presses):
            if number == PRESSES // 2:
                stage.unplug()
                wait_for(lambda: status(machine)["microphone"]["state"] == "listening")
            pause(wait if number != PRESSES // 2 else 1.0)
            asked.append(press(machine, stage, length))
        pause(2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.returncode = 0  # what is expected of an orderly stop
    return [*asked, stage.now()]


def test_pressed_at_random_moments(stage: Stage) -> None:
    """Each second sounds as at its time, over cuts and a lost microphone; a kill costs what was kept, and no more."""
    seed = random.SystemRandom().getrandbits(32)
    say(f"seed {seed}")
    chance = random.Random(seed)
    machine = stage.keeping
    # The first is cut, whatever chance says.
    lengths = [CUT_SECONDS - LAST + 1.0, *(chance.uniform(1, 5) for _ in range(PRESSES - 1))]
    presses = ((chance.uniform(0, 2) + LAST * (n % 2), length) for n, length in enumerate(lengths))
    with recorder(stage.always, "recording"):
        *asked, killed_at = killed_while_keeping(machine, presses, stage)
        before = machine.queue()
        with recorder(machine, "listening"):
            pause(3)
            asked.append(press(machine, stage, 2))
    rows = machine.queue()
    assert rows[: len(before)] == before
    # On a busy machine samples may be lost within a recording, where silence stands for them; nothing else is missing.
    gaps = machine.ok("gaps", "--json").json
    assert all(gap["cause"] == "overflow" and gap["recording_id"] for gap in gaps), gaps
    heard = stage.all_that_was_heard()
    sessions = [list(group) for _, group in itertools.groupby(rows, lambda row: row["session_id"])]
    assert len(sessions) == len(asked)
    late, end = [], 0.0
    for moment, session in zip(asked, sessions, strict=True):
        began = stage.started(session[0])
        # Where the one before has ended later than N seconds ago, it begins there: no sample is in two recordings.
        least = max(moment - LAST, end) if moment < killed_at else max(moment - LAST, killed_at)
        assert least - OFF_SECONDS <= began <= least + (ASKED_SECONDS if moment < killed_at else 2.5), (
            moment,
            end,
        )
        for row, after in itertools.pairwise(session):
            assert stage.started(after) == pytest.approx(
                stage.started(row) + row["duration_ms"] / 1000, abs=0.002
            )
        for row in session:
            sound = decoded(Path(row["path"]))
            told, silence = code_time(sound), silence_of(row)
            say(
                f"asked for at {moment:.3f} s: {row['duration_ms']} ms from {stage.started(row):.3f} s, which sounds "
                f"as {'nothing' if told is None else f'{told:.3f} s'}; silence for {silence} ms"
            )
            late += lateness(sound.astype(float), stage.started(row), heard)
            end = stage.started(row) + row["duration_ms"] / 1000
    most = max(map(abs, late))
    say(f"{len(asked)} recordings, {len(late)} seconds compared: off by {1000 * most:.1f} ms at most")
    assert most < OFF_SECONDS
    assert len(late) > 5 * PRESSES
    assert any(len(session) > 1 for session in sessions)
    assert any(silence_of(row) > 1000 for row in rows)
