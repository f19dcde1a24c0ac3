"""The power goes at any moment: each card that may be left is put in again, repairs, plays and delivers."""

import os
import random
import re
import statistics
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

from card import Chance, Image
from crash_setup import Driver, clear, fresh_seed, in_parallel, say, segment_factory, sound
from power import CALM, FLUSH_SECONDS, MOST_LOST, Cut, Outcome, Trace, go_on, image_of

IMAGES = int(os.environ.get("CRASH_IMAGES", "500"))
DAEMON_EVERY = 10
INDEX_LOST = 0.2
"""How many of the cuts take the index with them."""
NOTHING, NAMES, DATA, HALF = Chance(0, 0), Chance(0, 1), Chance(1, 0), Chance(1, 0.5)
"""What survives of the unsynced, when a sync is left out."""
WAYS = (
    (NOTHING, True, False),
    (NOTHING, False, False),
    (NOTHING, True, True),
    (HALF, True, False),
    (HALF, False, False),
    (NAMES, True, False),
    (NAMES, False, False),
    (DATA, False, False),
)
"""What survives, whether the index is lost, and whether the server is strict."""
NEXT_SYNCS = 45
"""How many syncs behind the one that is left out the power may go."""
FATES = 24
"""So many draws of what survives at the end of the trace: two names of which one comes back are one draw in four."""
MOST_TRIED = 100
ONLY = re.compile(os.environ.get("CRASH_POINTS", ""))
"""A pattern of steps, to look at some of them again."""
PROCEDURES = re.compile(
    r"(state|open|write|finish|repair|frozen|created|ticket|stored|asked|completed|sent|prune|damaged)\."
)
"""The steps of the procedures; the gap log, the clock and the token are no recordings."""
SPARE = {
    "state.sync_folder": "the clock's file and SQLite sync the same folder before the first recording",
    "open.number.sync": "the names of the files bear the numbers too; the account of time cannot do without: lives",
    "open.number.sync_folder": "an older recorder.json comes back, and the names of the files bear the numbers too",
    "finish.until.sync": "the sidecars tell where recording ended; the account of time cannot do without: lives",
    "finish.until.sync_folder": "an older recorder.json comes back, and the sidecars tell where recording ended",
    "open.sync": "the first flush, at most flush_seconds later, makes the headers durable with the first pages",
    "finish.sidecar.sync": "the file's own tags say the same, but for gap_ms, overflows and clipped",
    "finish.commit": "the sidecar says the same",
    "frozen.commit": "the sidecar says the same",
    "created.commit": "the sidecar says the same",
    "ticket.commit": "a fresh URL is asked for",
    "stored.commit": "the PUT is repeated, to the same recording",
    "asked.commit": "the sidecar says the same",
    "completed.commit": "the sidecar says the same",
    "prune.sync_folder": "a delivered file whose name comes back is adopted as delivered, and pruned again",
    "prune.commit": "a row of a delivered file that is gone is removed",
}
"""Syncs that one cut, even with the index lost, can do without; and why.

The commits of a delivery are synced only where SQLite folds its log in with one of them.

A sequence number is in use once a file's name bears it, and that name is durable (``open.sync_folder``) before its
first sample: a number that a power cut takes from ``recorder.json`` is given again only where no file has it. So it is
with one that was given to ``record --input`` through ``control.sock``: the cut ends that command too, and a file that
it had named is counted on from, as are files of larger numbers that the recorder has named meanwhile. What a torn
``recorder.json`` does cost is the account of time, and that is for the simulated lives to find (``test_lives``).
"""


def test_after_a_power_cut_all_but_the_last_seconds_arrives() -> None:
    """Cards cut off at moments of chance repair, play and deliver; at most ``flush_seconds`` + 1 s are lost.

    All that was synced is there, and a part of the rest. A tenth of the cards is started with the real daemon.
    """
    seed = fresh_seed()
    rng = random.Random(seed)
    with segment_factory("power") as folder:
        trace = Trace(folder / "trace", sound(folder, CALM))
        cuts = [random_cut(trace, rng) for _ in range(IMAGES)]

        def one(driver: Driver, item: tuple[int, Cut]) -> Outcome:
            number, cut = item
            outcome = go_on(trace, cut, folder / str(number), driver, daemon=number % DAEMON_EVERY == 0)
            clear(folder / str(number))
            return outcome

        outcomes = in_parallel(enumerate(cuts), one)

    lost = [outcome.lost for outcome in outcomes]
    bad = [outcome for outcome in outcomes if outcome.complaints]
    say(
        f"power cuts: {len(trace.calls)} calls traced, {len(outcomes)} cards, "
        f"{len(range(0, len(outcomes), DAEMON_EVERY))} with the real daemon, "
        f"{sum(cut.index_lost for cut in cuts)} without their index, {len(bad)} wrong; "
        f"{sum(outcome.objects for outcome in outcomes)} files on the server judged; lost: median "
        f"{statistics.median(lost):.3f} s, most {max(lost):.3f} s (flush_seconds {FLUSH_SECONDS}, limit {MOST_LOST} s)"
    )
    for outcome in bad[:30]:
        say(f"    {outcome}")
    assert not bad


def test_each_sync_is_needed() -> None:
    """The control: the syncs of each step are left out of the journal, and some card must then fail the oracle."""
    seed = fresh_seed()
    with segment_factory("syncs") as folder:
        trace = Trace(folder / "trace", sound(folder, CALM))

        def one(driver: Driver, item: tuple[int, str]) -> tuple[str, int, Outcome | None]:
            number, step = item
            result = step, tried, outcome = missed(trace, step, folder / str(number), driver, seed)
            verdict = (
                "NOT MISSED" if outcome is None else f"{outcome.cut}: {'; '.join(outcome.complaints[:2])}"
            )
            say(f"without {step}: {tried} other cards: {verdict}")
            return result

        steps = [step for step in trace.sync_steps if PROCEDURES.match(step) and ONLY.search(step)]
        results = in_parallel(enumerate(steps), one)

    say(
        f"syncs: {len(results)} steps, {sum(outcome is not None for *_, outcome in results)} missed when left out"
    )
    assert {step for step, _, outcome in results if outcome is None} <= set(SPARE)


def random_cut(trace: Trace, rng: random.Random) -> Cut:
    """Return a moment of chance, and what survives then."""
    data, names = (rng.choice((0.0, 1.0, rng.random(), rng.random())) for _ in range(2))
    return Cut(
        rng.randrange(len(trace.calls) + 1),
        Chance(data, names),
        rng.getrandbits(32),
        index_lost=rng.random() < INDEX_LOST,
        strict=rng.random() < 0.5,
    )


def missed(
    trace: Trace, step: str, folder: Path, driver: Driver, seed: int
) -> tuple[str, int, Outcome | None]:
    """Look for a card that fails because a step's syncs were left out; return how many were looked at."""
    seen: set[tuple[int, int, int, bool]] = set()
    for cut in candidates(trace, step, seed):
        image = image_of(trace, cut)
        whole = image_of(trace, replace(cut, without=""))
        known = trace.known_at(cut.at)
        case = fingerprint(image, cut), known.handed, known.server, cut.strict
        if case[0] == fingerprint(whole, cut) or case in seen:
            continue
        seen.add(case)
        outcome = go_on(trace, cut, folder / str(len(seen)), driver, image=image)
        clear(folder / str(len(seen)))
        if outcome.complaints:
            return step, len(seen), outcome
        if len(seen) >= MOST_TRIED:
            break
    return step, len(seen), None


def candidates(trace: Trace, step: str, seed: int) -> Iterator[Cut]:
    """Yield cuts at the end, when all was delivered and pruned, then behind two places where a step's sync is missed.

    Of the latter those first of which nothing unsynced survives.
    """
    places = trace.sync_steps[step]
    syncs = sorted(at for each in trace.sync_steps.values() for at in each)
    chosen = dict.fromkeys((places[-1], places[len(places) // 2]))
    moments = [at + 1 for place in chosen for at in syncs[syncs.index(place) :][:NEXT_SYNCS]]
    for number in range(FATES):
        yield Cut(len(trace.calls), HALF, seed + number, index_lost=True, without=step)
    for (chance, index_lost, strict), at in product(WAYS, moments):
        yield Cut(at, chance, seed + at, index_lost=index_lost, without=step, strict=strict)


def fingerprint(image: Image, cut: Cut) -> int:
    """Return a number that tells cards apart; of an index that is lost anyway nothing counts."""
    files = {
        path: data
        for path, data in image.files.items()
        if not (cut.index_lost and path.name.startswith("outbox.db"))
    }
    return hash((cut.index_lost, frozenset(files.items()), frozenset(image.folders)))
