"""Every fsync, rename, unlink and commit of a whole life, seen by the kernel, has a name in the file layer."""

import re
from collections import Counter
from pathlib import Path

from cases import SECONDS
from crash_setup import Driver, Ground, say, segment_factory, sound
from faults import is_commit
from journal import Call, read_journal, strace
from scenes import torn

FITS = {
    "fsync": re.compile(r"\.sync(_\w+)?$"),
    "fdatasync": re.compile(r"\.sync(_\w+)?$"),
    "rename": re.compile(r"\.(rename|set_aside)(\W?\w+)?$"),
    "unlink": re.compile(r"\.(unlink|undo)(\W?\w+)?$"),
    "ftruncate": re.compile(r"\.truncate$"),
}
"""Which step may take which call; only one call each."""
INDEX, INDEX_OR_FOLDER = "/outbox.db", "/state"
"""SQLite syncs the index, its companions, and the folder they are in."""
LOCKS = (".lock",)
"""What a lock's file says is for the living; nothing of it is to outlive them."""


def test_every_durable_call_of_a_life_has_a_name() -> None:
    """Start with torn files, record, deliver, prune, close: no call that makes something durable is without a name."""
    with segment_factory("calls") as folder:
        calls = traced_life(folder, "")
    nameless, named = judge(calls)
    counts = Counter(call.name for call in calls if call.name in FITS)
    say(f"system calls of a life: {dict(counts)}, under {len(named)} names; without a name: {len(nameless)}")
    for call, step in nameless[:20]:
        say(f"    {call.name} of {call.path.rpartition('/')[2]}, behind {step}")
    assert sum(counts.values()) > 100
    assert not nameless


def test_a_call_without_a_name_is_found() -> None:
    """The control: one fsync and one rename past the file layer are found."""
    with segment_factory("calls") as folder:
        nameless, _ = judge(traced_life(folder, "nameless"))
    say(f"control: found {[call.name for call, _ in nameless]}")
    assert {call.name for call, _ in nameless} == {"fsync", "rename"}


def traced_life(folder: Path, broken: str) -> list[Call]:
    """Return the calls and marks of a life under strace."""
    wav = sound(folder, 4)
    calm = Driver()
    with Ground(folder / "life") as ground:
        torn(ground, calm, wav)
        calm.close()
        driver = Driver(*strace(folder / "strace.log"))
        ended = ground.live(driver, wav=wav, seconds=SECONDS, prune=True, marks=True, broken=broken)
        driver.close()
        assert ended == {"signal": None, "code": 0}
        return list(read_journal(folder / "strace.log", ground.state))


def judge(calls: list[Call]) -> tuple[list[tuple[Call, str]], set[str]]:
    """Return the durable calls without a fitting name, each with the step before it; and the names that were seen."""
    nameless: list[tuple[Call, str]] = []
    named: set[str] = set()
    step, taken = "", False
    for call in calls:
        if call.name == "mark":
            step, taken = call.path.removeprefix("step/"), False
        elif call.name in FITS and not call.path.endswith(LOCKS):
            of_index = call.path.endswith(INDEX_OR_FOLDER) or INDEX in call.path
            of_index = of_index and (is_commit(step) or step.startswith("index."))
            if of_index or (FITS[call.name].search(step) and not taken):
                named.add(step)
            else:
                nameless.append((call, step))
            taken = True
    return nameless, named
