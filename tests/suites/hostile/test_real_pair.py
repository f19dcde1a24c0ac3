"""The two real processes against the grammar: each cell for a while, good answers, and a verdict on all that matters.

Waits are shortened by ``entry.py``; many cells meet one pair of processes, one after another, so that a single one
that is survived badly costs all that follow. ``CELLS=40`` tries fewer, ``CELLS=all`` every one.
"""

import os
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from grammar import Cell, cells
from judge import serve
from lateness import Lateness, measured
from pair import Pair
from server import hostile_server

CELLS = os.environ.get("CELLS", "240")
PAIRS = 6
MOST_GROWTH_KIB = 12 * 1024
"""What a process may have more at the end than after its first cells."""
WARM_CELLS = 3


def drawn() -> list[Cell]:
    """Return the cells that are tried, of every call and place alike; the seed is printed."""
    seed = random.SystemRandom().getrandbits(32)
    print("seed", seed)
    rng = random.Random(seed)
    places: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells():
        places[cell.call, cell.place].append(cell)
    for group in places.values():
        rng.shuffle(group)
    every = [cell for turn in range(100) for group in places.values() for cell in group[turn : turn + 1]]
    if CELLS == "all":
        rng.shuffle(every)
        return every
    chosen = rng.sample(every, int(CELLS)) if int(CELLS) < len(places) else every[: int(CELLS)]
    rng.shuffle(chosen)
    return chosen


def lived(folder: Path, share: list[Cell], number: int, lateness: Lateness) -> Iterator[str]:
    """Yield what is wrong with how one pair takes its share of the cells."""
    with hostile_server() as hostile, Pair(folder, hostile, is_ntp=number % 2 == 0).running() as pair:
        warm: dict[str, int] = {}
        for count, cell in enumerate(share):
            began = time.monotonic()
            yield from (wrong := serve(pair, cell, lateness))
            print(f"{number} {time.monotonic() - began:5.1f} s {cell}", *wrong, sep="  ", flush=True)
            if pair.dead():
                return
            if count == WARM_CELLS:
                warm = {name: pair.memory(name) for name in pair.processes}
        for name, kib in warm.items():
            now = pair.memory(name)
            print(
                f"pair {number}: {name} {kib} -> {now} KiB, at most {pair.most_memory(name)} KiB", flush=True
            )
            if now - kib > MOST_GROWTH_KIB:
                yield f"the {name} of pair {number} grew from {kib} to {now} KiB"
        print(f"pair {number}: {len(pair.finished)} recordings, {len(hostile.calls)} calls", flush=True)


def test_no_answer_stops_or_spoils_anything(tmp_path: Path) -> None:
    """Samples go on being written, both processes live and stay small, log and calls stay few, all arrives, on time."""
    chosen = drawn()
    with measured(tmp_path) as lateness, ThreadPoolExecutor(PAIRS) as pool:

        def live(number: int) -> list[str]:
            return list(lived(tmp_path / str(number), chosen[number::PAIRS], number, lateness))

        wrong = [each for share in pool.map(live, range(PAIRS)) for each in share]
        print(
            f"{len(chosen)} cells, {len(wrong)} off; the machine was at most {lateness.since(0):.1f} s late"
        )
    assert wrong == []


def broken(folder: Path, what: str, cell: Cell) -> list[str]:
    """Return what is wrong with a pair that lacks a protection, after the cell that it protects from.

    What ends takes a moment to end: a second cell, if need be a third, meets a process that is gone.
    """
    with (
        measured(folder) as lateness,
        hostile_server() as hostile,
        Pair(folder / "pair", hostile, "--without", what).running() as pair,
    ):
        return next((wrong for _ in range(3) if (wrong := serve(pair, cell, lateness))), [])


def test_without_a_limit_the_judge_sees_it(tmp_path: Path) -> None:
    """A control: where ids have no limit, one of 70 kB is kept, and its recording is never delivered."""
    wrong = broken(tmp_path, "limit", Cell("create", "field:id", "70 kB"))
    assert any("not delivered" in each for each in wrong), wrong


def test_without_a_net_the_judge_sees_it(tmp_path: Path) -> None:
    """A control: where upload URLs are not looked at, one that no library takes ends the deliverer."""
    cell = Cell("upload_url", "field:upload_url", "name of a bad host")
    wrong = broken(tmp_path, "net", cell)
    assert any("has ended" in each for each in wrong), wrong
