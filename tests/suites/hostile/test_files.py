"""The two real processes on a state directory in which one thing is something else: they record, and deliver the rest.

Every name under the state and runtime directories × everything a file system can hold. ``FILES=60`` tries fewer cases,
``FILES=all`` every one.
"""

import contextlib
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from lateness import Lateness, measured
from oddities import KINDS, make_mutable, names_in, plant
from server import Hostile, hostile_server
from used_card import Device, place, template

from agent.errors import AgentError
from agent.process.state_directory import Process

__all__ = ["place", "template"]

FILES = os.environ.get("FILES", "120")
AT_ONCE = 3
STARTED_SECONDS, RECORDING_SECONDS = 10.0, 5.0
"""Until the recorder has its lock, on a busy machine; and from then until there is sound in a new file."""
DELIVERED_SECONDS = 30.0
MOST_SLOW = 10.0
"""How many times longer all this may take on a machine that is busy with something else."""
LINES = 120
"""What a process may log in a case; each takes some seconds, and delivers a handful of recordings."""
RUNTIME = "(runtime)"
MUTED = "muted"
"""Whatever stands there silences the recorder: nobody is recorded who may have asked not to be."""
TOKEN = "token/device-token"
"""The owner's own token: what can be used no more is said, and another one is not taken in its place."""
MORE_NAMES = (
    MUTED,
    "gaps-delivery.jsonl",
    "token/device-token",
    "token/device-token.refreshed",
    "recorder.json.tmp",
)
"""Names that the template does not have, and other days do."""


IMPOSSIBLE = {
    (name, "immutable") for name in ("recording", "outbox", "outbox.db", "outbox.db-wal", "outbox.db-shm")
}
"""Nobody can make a file in an immutable folder, or write or rename an immutable index: ``status`` tells of it."""


class Case(NamedTuple):
    """One name, and what stands there."""

    name: str
    kind: str


def cases(template: Device) -> list[Case]:
    """Return the cases that are tried, of every name and kind alike; the seed is printed."""
    seed = random.SystemRandom().getrandbits(32)
    print("seed", seed)
    rng = random.Random(seed)
    runtime = [f"{RUNTIME}/{name}" for name in names_in(template.state.runtime_of(Process.RECORDER))]
    names = sorted({*names_in(template.machine.state), *MORE_NAMES, RUNTIME, *runtime})
    every = [Case(name, kind) for name in names for kind in KINDS if (name, kind) not in IMPOSSIBLE]
    rng.shuffle(every)
    if FILES == "all":
        return every
    by_name = sorted(
        every, key=lambda case: sum(other.name == case.name for other in every[: every.index(case)])
    )
    return by_name[: int(FILES)]


def new_case(template: Device, folder: Path, hostile: Hostile) -> Device:
    """Return a copy of the template as a device of its own."""
    device = Device(folder, hostile)
    shutil.copytree(template.machine.state, device.machine.state, symlinks=True)
    device.own()
    return device


def tried(template: Device, folder: Path, case: Case, lateness: Lateness) -> list[str]:
    """Return what is wrong with how the two processes take a case."""
    with hostile_server() as hostile:
        device = new_case(template, folder, hostile)
        state = device.machine.state
        before = whole(template.machine.state, state)
        plant(place_of(device, case.name), case.kind)
        waiting = set() if case.name == TOKEN else whole(template.machine.state, state) & before
        waiting = {local for local in waiting if local not in case.name}
        told = device.run("repair", "--dry-run")
        wrong = []
        if "Traceback" in told.err or told.code not in (0, 1):
            wrong.append(f"repair ends with {told.code}: {told.err[-300:]}")
        wrong += lived(device, case, waiting, hostile, lateness)
        print(f"{case.name} = {case.kind}: {' | '.join((told.out + told.err).splitlines())[:200]}")
        if wrong:
            print("   WRONG", *wrong, sep="\n      ", flush=True)
        make_mutable(folder)
        shutil.rmtree(folder)
    return [f"{case.name} = {case.kind}: {each}" for each in wrong]


def lived(device: Device, case: Case, waiting: set[str], hostile: Hostile, lateness: Lateness) -> list[str]:
    """Start both processes, and return what is wrong with what they do; ``waiting`` is what is whole."""
    state = device.machine.state
    wrong: list[str] = []
    before = {str(path) for path in state.glob("recording/*")}
    processes = {name: device.start(name) for name in ("recorder", "deliverer")}
    try:
        if not waited(lambda: has_started(device), STARTED_SECONDS * MOST_SLOW):
            wrong.append("the recorder has not taken its lock")
        began = time.monotonic()
        slow = min(MOST_SLOW, lateness.slowness(began - 5))
        recording = waited(lambda: grows(state, before), RECORDING_SECONDS * slow + 2 * lateness.since(began))
        if not recording and case.name != MUTED:
            wrong.append(
                f"does not record within {time.monotonic() - began:.1f} s, the machine {slow:.0f} times slow"
            )
        took = time.monotonic() - began
        if not waited(lambda: waiting <= hostile.delivered(), DELIVERED_SECONDS * slow):
            wrong.append(f"{len(waiting - hostile.delivered())} of {len(waiting)} not delivered")
        print(f"{took:4.1f} s until it recorded, {time.monotonic() - began:4.1f} s until all was delivered")
        ended = {name: each.poll() for name, each in processes.items() if each.poll() is not None}
        wrong += [f"the {name} ended with {code}" for name, code in ended.items()]
    finally:
        for each in processes.values():
            each.kill()
            each.wait()
    return wrong + [complaint for name in processes for complaint in talk(device, name)]


def talk(device: Device, name: str) -> Iterator[str]:
    """Yield what is wrong with what a process has logged."""
    log = device.log(name)
    if "Traceback" in log:
        yield f"traceback of the {name}: {log[log.index('Traceback') :][-600:]}"
    if log.count("\n") > LINES:
        yield f"{log.count(chr(10))} lines of the {name}"


def place_of(device: Device, name: str) -> Path:
    """Return where a name of a case lies in a device; its folder is made."""
    if RUNTIME not in name:
        return device.machine.state / name
    runtime = runtime_of(device)
    place = runtime.parent / name.replace(RUNTIME, runtime.name)
    if place != runtime:
        runtime.mkdir(mode=0o700)
        device.own()
    return place


def runtime_of(device: Device) -> Path:
    """Return where the processes of a device will have their runtime folder."""
    from agent.process.state_directory import runtime_by_hand

    given = Path(device.machine.environment["XDG_RUNTIME_DIR"])
    return given / runtime_by_hand(device.machine.state, {"XDG_RUNTIME_DIR": ""}).name.replace(
        f"-{os.geteuid()}", ""
    )


def whole(template: Path, state: Path) -> set[str]:
    """Return the ids of the waiting recordings whose files are as they were."""
    outbox = state / "outbox"
    if not outbox.is_dir() or outbox.is_symlink() or outbox.stat().st_mode & 0o700 != 0o700:
        return set()
    found = set()
    for audio in (template / "outbox").glob("*.opus"):
        pair = [(each, outbox / each.name) for each in (audio, audio.with_suffix(".json"))]
        if all(is_same(then, now) for then, now in pair):
            found.add(audio.stem.split("-", 2)[2])
    return found


def is_same(then: Path, now: Path) -> bool:
    """Whether a file is a regular one that its owner can read, with the contents that it had."""
    is_one = now.is_file() and not now.is_symlink() and now.stat().st_mode & 0o400
    return (
        bool(is_one) and then.stat().st_size == now.stat().st_size and then.read_bytes() == now.read_bytes()
    )


def has_started(device: Device) -> bool:
    """Whether the recorder holds its lock."""
    with contextlib.suppress(AgentError):
        return device.state.is_locked(Process.RECORDER)
    return False


def grows(state: Path, before: set[str]) -> bool:
    """Whether there is a new open file with sound in it, or one was finished since."""
    try:
        return any(
            str(path) not in before and path.stat().st_size > 1000 for path in (state / "recording").iterdir()
        )
    except OSError:
        return False


def waited(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; return whether it came true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


def test_whatever_stands_there_it_records_and_delivers_the_rest(
    template: Device, place: Path, tmp_path: Path
) -> None:
    """Recording within 5 s, every whole recording delivered, both processes alive, and ``repair`` answers."""
    chosen = cases(template)
    with measured(tmp_path) as lateness, ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(
            lambda item: tried(template, place / str(item[0]), item[1], lateness), enumerate(chosen)
        )
        wrong = [each for some in found for each in some]
    print(f"{len(chosen)} cases, {len(wrong)} off")
    assert wrong == []
