"""What the fault tests share: a daemon at the virtual microphone, sabotage, measuring, and figures."""

import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from acceptance import Machine
from virtual_microphone import VirtualMicrophone

POLL_SECONDS = 0.01
NOTICED_WITHIN = 2.0
BACK_WITHIN = 10.0


def say(text: str) -> None:
    """Print a line for the person who reads the results."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def at_the_microphone(folder: Path, microphone: VirtualMicrophone) -> Machine:
    """Return a machine that hears the virtual microphone and delivers nowhere."""
    machine = Machine(folder)
    keys = ("XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH", "PULSE_SERVER", "ALSA_CONFIG_PATH")
    machine.environment |= {key: microphone.env[key] for key in keys}
    machine.configure(api={"base_url": "http://127.0.0.1:9/v1"}, recording={"mode": "continuous"})
    return machine


def sabotage(machine: Machine, code: str) -> None:
    """Break the program: run this code at the start of each of its processes."""
    (machine.folder / "hidden" / "sitecustomize.py").write_text(code)


def seconds_until(condition: Callable[[], bool], within: float) -> float:
    """Return after how many seconds something was so; infinity when it was not in time."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > within:
            return float("inf")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - start


def say_figures(what: str, values: Sequence[float]) -> None:
    """Print median and maximum."""
    say(f"{what}: median {statistics.median(values):.2f} s, max {max(values):.2f} s, n = {len(values)}")


def fresh_seed() -> random.Random:
    """Return choices of their own for each run, and say how to repeat them."""
    seed = random.SystemRandom().getrandbits(32)
    say(f"seed {seed}")
    return random.Random(seed)
