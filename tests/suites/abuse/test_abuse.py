"""The deliverer is abused under the two real processes at 48 kHz stereo: is one sample lost, judged by the sound?

The virtual microphone plays numbered slots of half a second on the recorder's own sample clock: in the decoded files,
one behind the other, each slot must stand exactly where its number says. With ``SHORT`` in the environment one life
has all abuses, and shorter ones.
"""

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from abuses import ABUSES, QUICK, SHORT, Bench, deliverer, index_locked, prepare, present
from acceptance import Daemon, Machine, end_deliverer, server, wait_for
from code_microphone import CodeMicrophone
from rig import at_the_microphone, say
from timecode import HEARD_RATE, SLOT_SECONDS, Samples, _aligned, _read, decoded, slot

from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.server import SandboxServer

__all__ = ["server"]

OFF_SAMPLES = 16
"""A millisecond: what the alignment by correlation may be off."""
LOCKED_SECONDS = 8 if SHORT else 40
CALM_SECONDS = 3 if SHORT else 6
"""Before and after what is done."""
STOPPED_SECONDS = 50
"""Longer than the pipe, PulseAudio and the recorder's memory hold sound at 48 kHz stereo."""
DRAINED_WITHIN = 180.0
CTRL_S = b"\x13"

Abuse = Callable[[Bench], None]


@pytest.fixture
def microphone(tmp_path: Path) -> Iterator[CodeMicrophone]:
    microphone = CodeMicrophone(tmp_path / "mic")
    microphone.start()
    yield microphone
    microphone.stop()


@pytest.fixture
def machine(tmp_path: Path, microphone: CodeMicrophone, server: SandboxServer) -> Machine:
    machine = at_the_microphone(tmp_path / "m", microphone)
    machine.give_token(DEFAULT_TOKEN)
    machine.configure(
        api={"base_url": server.base_url},
        audio={"sample_rate": 48_000, "channels": 2},
        recording={"segment_seconds": 5},
    )
    return machine


@contextlib.contextmanager
def unread(machine: Machine, way: str) -> Iterator[Daemon]:
    """Keep ``run`` going with a log that nobody reads: a pipe that is full, or a terminal after Ctrl-S."""
    reader, writer = os.pipe() if way == "pipe" else os.openpty()
    if way == "pipe":
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)))
        os.set_blocking(writer, True)
    else:
        os.write(reader, CTRL_S)
    nothing = machine.folder / "nothing.log"
    nothing.touch()
    with machine.popen("run", stderr=writer) as process:
        daemon = Daemon(process, machine.state, nothing)
        try:
            wait_for(daemon.answers)
            yield daemon
        finally:
            process.kill()
            end_deliverer(machine.state)
            os.close(reader)
            os.close(writer)


def lived(
    machine: Machine, microphone: CodeMicrophone, abuses: Sequence[Abuse], way: str | None = None
) -> None:
    """Record the code while something is done; afterwards all that waits is delivered, without a person."""
    led = prepare(machine)
    with unread(machine, way) if way is not None else machine.daemon() as daemon:
        bench = Bench(machine, daemon, led)
        wait_for(lambda: bool(daemon.status().get("recording")) and deliverer(machine) is not None)
        time.sleep(CALM_SECONDS)
        for abuse in abuses:
            began = time.monotonic()
            abuse(bench)
            say(f"{abuse.__name__}: {time.monotonic() - began:.0f} s")
            wait_for(lambda: bench.delivery() == "running", DRAINED_WITHIN)
        began = time.monotonic()
        wait_for(lambda: machine.ok("status", "--json").json["pending"] <= 2, DRAINED_WITHIN)
        say(f"the backlog was gone after {time.monotonic() - began:.0f} s")
        time.sleep(CALM_SECONDS)
        assert daemon.stop() == 0
    say(f"the source was {microphone.most_late:.2f} s late at most")
    microphone.check()
    machine.ok("sync")
    assert {row["status"] for row in machine.queue()} == {"uploaded"}


def index_is_locked(bench: Bench) -> None:
    """Hold the index for a while, as a backup may."""
    with index_locked(bench.machine):
        time.sleep(LOCKED_SECONDS)


def heard(machine: Machine) -> Samples:
    """Return the sound of all files, one behind the other, of the left channel."""
    return np.concatenate([decoded(Path(row["path"])).reshape(-1, 2)[:, 0] for row in machine.queue()])


def lost(sound: Samples) -> list[str]:
    """Return where a slot does not stand where the one before it says; the first one may have no beginning."""
    length = round(SLOT_SECONDS * HEARD_RATE)
    for at in range(0, 20 * length, HEARD_RATE // 200):
        first = _read(sound[at : at + length])
        if first is not None and _read(sound[at + length : at + 2 * length]) == first + 1:
            break
    else:
        raise AssertionError("no code was heard")
    expected, number = _aligned(sound, at + length, first + 1), first + 1
    found, slots = [], 0
    while expected + 2 * length < len(sound):
        slots += 1
        heard_number = _read(sound[expected : expected + length])
        if heard_number != number:
            found.append(f"slot {number} is {heard_number}")
        elif abs(off := _aligned(sound, expected, number) - expected) > OFF_SAMPLES:
            found.append(f"slot {number} is {off} samples off")
            expected += off
        expected, number = expected + length, number + 1
    say(f"{slots} slots, not in place: {', '.join(found) or 'none'}"[:500])
    return found


def nothing_is_lost(machine: Machine) -> None:
    """The files join to the sample, and the gaps have nothing but the start."""
    assert lost(heard(machine)) == []
    assert {gap["cause"] for gap in machine.ok("gaps", "--json").json} <= {"not_running"}


@pytest.mark.parametrize("abuse", ABUSES)
def test_not_one_sample_is_lost(machine: Machine, microphone: CodeMicrophone, abuse: Abuse) -> None:
    """Whatever is done to the deliverer: ``status`` says what is wrong, and the backlog drains."""
    lived(machine, microphone, [abuse])
    nothing_is_lost(machine)


@pytest.mark.parametrize("way", ["terminal"] if SHORT else ["pipe", "terminal"])
def test_a_locked_index_and_an_unread_log_lose_nothing(
    machine: Machine, microphone: CodeMicrophone, way: str
) -> None:
    """BEGIN IMMEDIATE for 40 s, and a full pipe or Ctrl-S all the while."""
    lived(machine, microphone, [*(QUICK if SHORT else ()), index_is_locked], way)
    nothing_is_lost(machine)


def recorder_stopped(bench: Bench) -> None:
    """Stop the recorder for longer than its sound is kept elsewhere."""
    bench.daemon.process.send_signal(signal.SIGSTOP)
    time.sleep(STOPPED_SECONDS)
    bench.daemon.process.send_signal(signal.SIGCONT)
    time.sleep(10)


def test_a_stopped_recorder_loses_sound(machine: Machine, microphone: CodeMicrophone) -> None:
    """The control: what costs nothing in the deliverer costs sound in the recorder."""
    lived(machine, microphone, [recorder_stopped])
    assert lost(heard(machine)) != []


def test_a_killed_recorder_loses_sound_and_delivery_goes_on(
    machine: Machine, microphone: CodeMicrophone
) -> None:
    """The deliverer that was there when the recorder was killed delivers what waits; the control for the sound."""
    prepare(machine)
    machine.configure(sync={"max_kbit_per_second": 64}, recording={"segment_seconds": 3})
    with machine.daemon() as daemon:
        wait_for(lambda: len(machine.queue()) > 3, 60)
        pid = present(machine)
        daemon.process.kill()
        daemon.process.wait(10)
        waits = sum(row["status"] not in {"uploaded", "recording"} for row in machine.queue())
        say(f"killed while {waits} recordings waited")
        wait_for(lambda: {row["status"] for row in machine.queue()} == {"uploaded"}, 120)
        assert deliverer(machine) == pid
    with machine.daemon() as daemon:
        time.sleep(5)
        assert daemon.stop() == 0
    microphone.check()
    assert waits > 0
    machine.ok("sync")
    assert lost(heard(machine)) != []


@pytest.mark.parametrize(("missing", "noticed"), [(0, False), (2 * OFF_SAMPLES, True), (HEARD_RATE, True)])
def test_the_judge_notices_what_is_missing(missing: int, *, noticed: bool) -> None:
    """The control: code with a piece cut out of it, from two milliseconds on."""
    sound = np.concatenate([slot(number, HEARD_RATE) for number in range(100, 124)])
    cut = 10 * round(SLOT_SECONDS * HEARD_RATE)
    assert bool(lost(np.concatenate([sound[:cut], sound[cut + missing :]]))) is noticed
