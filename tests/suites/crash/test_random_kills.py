"""The daemon is killed at moments of chance, over and over, while it records, repairs and delivers."""

import os
import random
import signal
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from crash_setup import RATE, Driver, Ground, fresh_seed, say, segment_factory, sound
from daemonlife import COUNTER

KILLS = int(os.environ.get("CRASH_KILLS", "100"))
CONTROL_KILLS = 12
FACTOR = 10.0
"""The daemon's clock runs so much faster than the machine's, and so does the sound."""
LONGEST_RUN = 1.3
"""Seconds of the machine until the kill, at most."""
SEGMENT_SECONDS = 4
MOST_LOST = 1.0


@dataclass
class Kills:
    """What a row of kills has cost."""

    lost: list[float] = field(default_factory=list)
    """Seconds of sound by kill, counted from the samples that were handed to the recorder."""
    handed: float = 0.0
    complaints: list[str] = field(default_factory=list)


def test_a_kill_costs_at_most_a_second() -> None:
    """Killed at a moment of chance, started again, killed again; at the end the server holds all but 1 s a kill."""
    seed = fresh_seed()
    kills = kill_and_go_on(random.Random(seed), KILLS)
    say(
        f"random kills: {len(kills.lost)}, {kills.handed:.1f} s of sound handed over; lost per kill: median "
        f"{statistics.median(kills.lost):.3f} s, most {max(kills.lost):.3f} s, limit {MOST_LOST} s"
    )
    for complaint in kills.complaints[:20]:
        say(f"    {complaint}")
    assert not kills.complaints
    assert max(kills.lost) <= MOST_LOST
    assert min(kills.lost) > -1e-3


def test_without_repair_kills_cost_more() -> None:
    """The control: with the repair of open files switched off, the same oracle finds the loss."""
    kills = kill_and_go_on(random.Random(fresh_seed()), CONTROL_KILLS, broken="repair")
    say(f"control, without repair: {len(kills.lost)} kills, most lost {max(kills.lost):.3f} s, "
          f"{len(kills.complaints)} complaints")  # fmt: skip
    assert max(kills.lost) > MOST_LOST
    assert kills.complaints


def kill_and_go_on(rng: random.Random, count: int, broken: str = "") -> Kills:
    """Kill so many daemons that had been handed sound; then deliver what is left and count."""
    kills = Kills()
    handed: dict[int, int] = {}
    zero = time.monotonic()
    with segment_factory("kills") as folder:
        wav = sound(folder, 30)
        driver = Driver()
        with Ground(folder / "ground") as ground:
            run = 0
            while len(handed) < count:
                run += 1
                ground.configure(recording={"segment_seconds": SEGMENT_SECONDS, "metadata": {"run": run}})
                samples = one_run(driver, ground, wav, rng.uniform(0.05, LONGEST_RUN), zero, broken)
                if samples:
                    handed[run] = samples
            ended = ground.live(driver, elapsed=FACTOR * (time.monotonic() - zero) + 10, broken=broken)
            if ended != {"signal": None, "code": 0}:
                kills.complaints.append(f"the last life ended with {ended}")
            verdict = ground.judge({})
        driver.close()
    kills.complaints += verdict.complaints
    kills.handed = sum(handed.values()) / RATE
    kills.lost = [samples / RATE - verdict.per_run[str(run)] / 48000 for run, samples in handed.items()]
    return kills


def one_run(driver: Driver, ground: Ground, wav: Path, seconds: float, zero: float, broken: str) -> int:
    """Run the daemon for so long, kill it, and return how many samples it was handed."""
    counter = ground.folder / "counter"
    counter.write_bytes(COUNTER.pack(0))
    pid = driver.begin_daemon(
        folder=ground.folder, wav=wav, counter=counter, zero=zero, factor=FACTOR, broken=broken
    )
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    assert driver.wait()["signal"] == signal.SIGKILL
    return int(COUNTER.unpack(counter.read_bytes())[0])
