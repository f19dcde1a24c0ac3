"""Real recorders that listen for a voice at the virtual microphone: what they write, and what a kill costs."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from acceptance import Json, Machine, wait_for
from listening import Loudspeaker, at_the_microphone, pause, recorder, room, say, status
from speech import speech
from virtual_microphone import RATE, VirtualMicrophone

TRACED_SECONDS = float(os.environ.get("TRACED_SECONDS", "130"))
KILLS = int(os.environ.get("KILLS", "6"))
NOTED_SECONDS = 60.0
PRE_ROLL, HANG = 2, 3
OFF_SECONDS = 0.5
WRITES = "write,pwrite64,writev,ftruncate,fallocate,fsync,fdatasync,sync_file_range,rename,renameat2,unlink,unlinkat"


class Room:
    """A microphone in a room of its own, and a recorder that listens there."""

    def __init__(self, folder: Path, rng: np.random.Generator) -> None:
        self.microphone = VirtualMicrophone(folder / "mic")
        self.quiet = room(rng, 30)
        self.voice = np.frombuffer(speech(RATE, 1, 30 * RATE), "<i2")
        self.machine = at_the_microphone(folder / "m", self.microphone, mode="voice")
        self.loudspeaker: Loudspeaker
        self.machine.configure(voice={"pre_roll_seconds": PRE_ROLL, "hang_seconds": HANG})

    def speak(self, seconds: float) -> None:
        """Let somebody speak for so long."""
        self.loudspeaker.sound = self.voice
        pause(seconds)
        self.loudspeaker.sound = self.quiet


@pytest.fixture
def hearing(tmp_path: Path) -> Iterator[Room]:
    """Give a room in which nobody speaks."""
    seed = random.SystemRandom().getrandbits(32)
    say(f"seed {seed}")
    made = Room(tmp_path, np.random.default_rng(seed))
    made.microphone.start()
    made.loudspeaker = Loudspeaker(made.microphone, made.quiet)
    yield made
    made.loudspeaker.stop()
    made.microphone.stop()


@contextmanager
def traced(pid: int, folder: Path) -> Iterator[list[str]]:
    """Give the durable system calls of a process, filled when the tracing ends: those on what lies in a folder."""
    found: list[str] = []
    output = folder.with_name("trace")
    command = ["strace", "-f", "-y", "-s", "300", "-e", f"trace={WRITES}", "-o", str(output), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        assert tracer.stderr is not None
        assert b"attached" in tracer.stderr.readline()
        yield found
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
    found += [line for line in output.read_text().splitlines() if str(folder) in line]


def call_of(line: str) -> str:
    """Return the name of a traced call."""
    return line.split(maxsplit=1)[1].partition("(")[0]


def seconds(moment: str) -> float:
    """Return a moment in unix seconds."""
    return datetime.fromisoformat(moment).timestamp()


def killed(process: "subprocess.Popen[str]") -> float:
    """Kill a recorder; return when that was."""
    process.kill()
    process.wait()
    return time.time()


def accounted(machine: Machine) -> tuple[float, float, float]:
    """Return the seconds that were recorded, not wanted, and missing, of all days."""
    days: list[Json] = machine.ok("report", "--json", "--days", "2").json
    return (
        sum(day["recorded_seconds"] for day in days),
        sum(day["not_wanted_seconds"] for day in days),
        sum(sum(day["missing_seconds"].values()) for day in days),
    )


def test_while_it_listens_it_writes_once_a_minute(hearing: Room) -> None:
    """One small durable file and nothing else, not even a line of the log; after a kill a gap begins there."""
    machine = hearing.machine
    log = machine.folder / "log"
    with log.open("a") as words, machine.popen("run", "--only", "recorder", stderr=words) as process:
        try:
            wait_for(lambda: status(machine)["state"] == "listening", 30)
            pause(2)
            size = log.stat().st_size
            with traced(process.pid, machine.state) as found:
                began = time.time()
                pause(TRACED_SECONDS)
                assert status(machine)["state"] == "listening"
                ended = time.time()
            assert log.stat().st_size == size
            noted = (machine.state / "recorder.json").stat().st_mtime
            at = killed(process)
        finally:
            process.kill()
    for line in found:
        say(line[:150])
    renames = [line for line in found if call_of(line).startswith("rename")]
    # Where a minute ends in the second that is accounted for late, one more or less is right.
    assert abs(len(renames) - (ended - began) / NOTED_SECONDS) < 1.1
    assert renames
    folder = f"<{machine.state}>) = 0"
    assert all("recorder.json" in line or line.endswith(folder) for line in found), found
    written = sum(int(line.rpartition("= ")[2]) for line in found if call_of(line) == "write")
    say(f"{len(renames)} notes and {written} bytes in {ended - began:.0f} s")
    assert written < 2000 * len(renames)
    with recorder(machine, "listening"):
        again = time.time()
    gap = machine.ok("gaps", "--json").json[-1]
    say(f"noted {at - noted:.1f} s before the kill: {gap}")
    assert seconds(gap["from"]) == pytest.approx(noted, abs=1.5)
    assert gap["seconds"] == pytest.approx(again - seconds(gap["from"]), abs=1.0)


def test_killed_at_random_all_time_is_accounted_for(hearing: Room) -> None:
    """While it listens, while it records, and just started: recorded + not wanted + missing = elapsed."""
    machine = hearing.machine
    seed = random.SystemRandom().getrandbits(32)
    say(f"seed {seed}")
    chance = random.Random(seed)
    began = 0.0
    for number in range(KILLS):
        speaks = number % 2 == 0
        with (machine.folder / "log").open("a") as words:
            process = machine.popen("run", "--only", "recorder", stderr=words)
        try:
            wait_for(lambda: status(machine)["state"] in {"listening", "recording"}, 30)
            began = began or time.time()
            pause(chance.uniform(0, 4))
            if speaks:
                hearing.loudspeaker.sound = hearing.voice
                wait_for(lambda: status(machine)["state"] == "recording", 20)
                pause(chance.uniform(0, 4))
            killed(process)
        finally:
            process.kill()
            process.wait()
        hearing.loudspeaker.sound = hearing.quiet
        pause(chance.uniform(0, 3))
    with recorder(machine, "listening") as process:
        pause(3)
        hearing.speak(3)
        wait_for(lambda: status(machine)["state"] == "recording", 20)
        wait_for(lambda: status(machine)["state"] == "listening", 30)
        process.terminate()
        process.wait(10)
        elapsed = time.time() - began
    machine.ok("repair")
    assert "Traceback" not in (machine.folder / "log").read_text()
    recorded, not_wanted, missing = accounted(machine)
    off = recorded + not_wanted + missing - elapsed
    say(
        f"{KILLS} kills: recorded {recorded:.3f} + not wanted {not_wanted:.3f} + missing {missing:.3f} "
        f"- elapsed {elapsed:.3f} = {off:+.3f} s"
    )
    assert abs(off) < OFF_SECONDS
    assert recorded > 3
    assert not_wanted > 3
    rows = machine.queue()
    assert recorded == pytest.approx(sum(row["duration_ms"] for row in rows) / 1000, abs=0.05)
