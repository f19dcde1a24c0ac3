"""The deliverer is abused under the two real processes at 48 kHz stereo: is one sample lost, judged by the sound?

The virtual microphone plays numbered slots of half a second on the recorder's own sample clock: in the decoded files,
one behind the other, each slot must stand exactly where its number says.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from acceptance import Daemon, Machine, server, wait_for
from rig import at_the_microphone, say
from timecode import HEARD_RATE, SLOT_SECONDS, Player, Samples, _aligned, _read, decoded, slot
from virtual_microphone import VirtualMicrophone, virtual_microphone

from agent.process.state_directory import Process, StateDirectory
from agent.process.state_lock import holder_of
from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.server import SandboxServer

__all__ = ["server", "virtual_microphone"]

ABORTED_SECONDS = 20.0
HUNG_WITHIN = 45.0
OFF_SAMPLES = 16
"""A millisecond: what the alignment by correlation may be off."""

Abuse = Callable[[Machine, Daemon], None]


@pytest.fixture
def machine(tmp_path: Path, virtual_microphone: VirtualMicrophone, server: SandboxServer) -> Machine:
    machine = at_the_microphone(tmp_path / "m", virtual_microphone)
    machine.give_token(DEFAULT_TOKEN)
    machine.configure(
        api={"base_url": server.base_url},
        audio={"sample_rate": 48_000, "channels": 2},
        recording={"segment_seconds": 5},
    )
    return machine


def deliverer(machine: Machine) -> int | None:
    """Return the process number of the deliverer; None while there is none."""
    folder = StateDirectory(machine.state, machine.state)
    holder = holder_of(folder.lock_of(Process.DELIVERER))
    with contextlib.suppress(OSError):
        if holder is not None and b"deliverer" in Path(f"/proc/{holder.pid}/cmdline").read_bytes():
            return holder.pid
    return None


def aborted(machine: Machine, _daemon: Daemon) -> None:
    """Abort it every second."""
    times, end = 0, time.monotonic() + ABORTED_SECONDS
    while time.monotonic() < end:
        pid = deliverer(machine)
        with contextlib.suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, signal.SIGABRT)
                times += 1
        time.sleep(1)
    say(f"aborted {times} times")
    assert times >= 2


def stopped(machine: Machine, _daemon: Daemon) -> None:
    """Stop it until ``status`` says that it hangs."""
    pid = deliverer(machine)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: machine.ok("status", "--json").json["delivery"] == "hung", HUNG_WITHIN)
    finally:
        os.kill(pid, signal.SIGCONT)


def end_of(player: Player) -> None:
    """Close what the player was fed through."""
    assert player._process is not None
    assert player._process.stdin is not None
    with contextlib.suppress(OSError):
        player._process.stdin.close()


def lived(machine: Machine, microphone: VirtualMicrophone, abuse: Abuse) -> None:
    """Record the code while something is done to it; afterwards all that waits is delivered."""
    player = Player(microphone.env)
    player.play()
    time.sleep(1)
    try:
        with machine.daemon() as daemon:
            wait_for(lambda: bool(daemon.status().get("recording")) and deliverer(machine) is not None)
            time.sleep(6)
            abuse(machine, daemon)
            time.sleep(6)
            assert daemon.stop() == 0
    finally:
        player.stop()
        end_of(player)
    machine.ok("sync")
    assert {row["status"] for row in machine.queue()} == {"uploaded"}


def heard(machine: Machine) -> Samples:
    """Return the sound of all files, one behind the other, of the left channel."""
    return np.concatenate([decoded(Path(row["path"])).reshape(-1, 2)[:, 0] for row in machine.queue()])


def lost(sound: Samples) -> list[str]:
    """Return where a slot does not stand where its number says."""
    length = round(SLOT_SECONDS * HEARD_RATE)
    for at in range(0, 20 * length, HEARD_RATE // 200):
        first = _read(sound[at : at + length])
        if first is not None and _read(sound[at + length : at + 2 * length]) == first + 1:
            break
    else:
        raise AssertionError("no code was heard")
    begin = _aligned(sound, at, first)
    found = []
    slots = (len(sound) - begin) // length - 1
    for count in range(slots):
        at = begin + count * length
        number = _read(sound[at : at + length])
        if number != first + count:
            found.append(f"slot {first + count} is {number}")
        elif abs(off := _aligned(sound, at, number) - at) > OFF_SAMPLES:
            found.append(f"slot {number} is {off} samples off")
    say(f"{slots} slots, {len(found)} not in place")
    return found


@pytest.mark.parametrize("abuse", [aborted, stopped])
def test_not_one_sample_is_lost(
    machine: Machine, virtual_microphone: VirtualMicrophone, abuse: Abuse
) -> None:
    """The files join to the sample, the gaps have nothing of it, and the backlog drains."""
    lived(machine, virtual_microphone, abuse)
    assert lost(heard(machine)) == []
    assert {gap["cause"] for gap in machine.ok("gaps", "--json").json} <= {"not_running"}


@pytest.mark.parametrize(("missing", "noticed"), [(0, False), (2 * OFF_SAMPLES, True), (HEARD_RATE, True)])
def test_the_judge_notices_what_is_missing(missing: int, *, noticed: bool) -> None:
    """The control: code with a piece cut out of it, from two milliseconds on."""
    sound = np.concatenate([slot(number, HEARD_RATE) for number in range(100, 124)])
    cut = 10 * round(SLOT_SECONDS * HEARD_RATE)
    assert bool(lost(np.concatenate([sound[:cut], sound[cut + missing :]]))) is noticed
