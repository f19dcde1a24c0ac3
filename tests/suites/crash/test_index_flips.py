"""Single bits of the index are flipped, and everything that is ever asked of it is asked: it serves, or begins anew.

The other suites live whole lives with a damaged index, and can afford few of them; this one asks the store alone.
"""

import os
import random
import sqlite3
from collections import Counter
from pathlib import Path

from crash_setup import fresh_seed, say, segment_factory
from logcapture import capture_logs

from agent.clock import Instant
from agent.disk import Disk
from agent.index.table.store import Store
from agent.outbox.entry import Entry, changed

FLIPS = int(os.environ.get("CRASH_FLIPS", "500"))
BOOT = "b0a7" * 8
MOMENT = Instant(1_767_225_600_000, BOOT, 5000, "ntp")
ROWS = 30
HEALED_AFTER = 3
"""Errors in a row that a damaged index may cost its users before it is a new one."""


def entry(number: int) -> Entry:
    """Return an entry of one of six kinds."""
    plain = Entry(
        id=f"id-{number:04d}",
        seq=number,
        session_id="session",
        segment=number,
        stem=f"stem-{number:04d}",
        mode="continuous",
        started=Instant(1_767_225_600_000 + 1000 * number, BOOT, 1000 * number, "ntp"),
        sample_rate=8000,
        channels=1,
        samples=8000,
        size_bytes=1000 + number,
        sha256="0" * 64,
        metadata={"number": number},
    )
    facts: tuple[dict[str, object], ...] = (
        {},
        {"request": {}, "remote_id": "rec_1", "created_ms": 5, "next_attempt": MOMENT, "next_attempt_ms": 77},
        {"completed_ms": 7, "verified": True},
        {"parked_ms": 7, "parked_reason": "refused"},
        {"held_ms": 9},
        {"attempts": 3, "last_error": "no"},
    )
    return changed(plain, **facts[number % len(facts)])


ENTRIES = [entry(number) for number in range(1, ROWS + 1)]
STEMS = [each.stem for each in ENTRIES]


def build(path: Path) -> bytes:
    """Make a sound index and return its bytes."""
    store = Store(path, Disk())
    store.insert(ENTRIES, "insert")
    store.set_pause("api", MOMENT)
    store.close()
    return path.read_bytes()


def ask(store: Store) -> dict[str, Entry]:
    """Ask everything, change everything, and return the entries as they were before."""
    before = {each.id: each for each in store.all()}
    store.of_stems(STEMS)
    store.counts(), store.pending_bytes(), store.total_bytes()
    for gate in store.unset_clocks():
        store.ready(gate)
    store.next_ready_ms(BOOT)
    store.parked_before(10**13)
    list(store.held())
    store.oldest_waiting(), store.last_delivery_ms()
    store.pause("api")
    store.known_stems(STEMS)
    store.end_backoffs(BOOT, 10**9, 10**13)
    store.update(changed(ENTRIES[0], attempts=9), "update")
    store.delete(ENTRIES[1].id, "delete")
    store.insert([entry(ROWS + 12)], "insert")
    store.set_pause("api", None)
    list(store.all())
    return before


def checked(row: Entry) -> Entry:
    """Return a row without its wait, which is not under the row's checksum: a wrong one ends within a day."""
    return changed(row, next_attempt=None, next_attempt_ms=None)


def meet(path: Path) -> tuple[str, str]:
    """Open an index and use it; return what became of it, and a complaint."""
    store = Store(path, Disk())
    try:
        for _ in range(HEALED_AFTER):
            try:
                found = ask(store)
                break
            except sqlite3.DatabaseError as error:
                last = error
        else:
            return "failed", f"is still not usable: {last}"
        counts = store.counts()
    finally:
        store.close()
    if any("damaged" in name.name for name in path.parent.iterdir()):
        return "set aside", ""
    wrong = [each.id for each in ENTRIES if each.id not in found or checked(found[each.id]) != checked(each)]
    if wrong:
        return "served", f"has other rows than were written: {wrong[:3]}"
    if counts != {"pending": 16, "parked": 5, "held": 5}:
        return "served", f"has other totals than rows: {counts}"
    return "served", ""


def test_a_flipped_bit_is_noticed_or_without_effect() -> None:
    """Never an error that stays, never a row or a total that nobody wrote."""
    rng = random.Random(fresh_seed())
    with segment_factory("flips") as folder:
        path = folder / "outbox.db"
        sound = build(path)
        assert meet(path) == ("served", "")
        used = [at for at, byte in enumerate(sound) if byte]
        fates: Counter[str] = Counter()
        complaints = []
        for _ in range(FLIPS):
            for left in folder.iterdir():
                left.unlink()
            at, bit = rng.choice(used), rng.randrange(8)
            damaged = bytearray(sound)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            with capture_logs():
                fate, complaint = meet(path)
            fates[fate] += 1
            if complaint:
                complaints.append(f"bit {bit} of byte {at}: {complaint}")
    say(f"flipped bits: {FLIPS} in {len(used)} bytes, {dict(fates)}, {len(complaints)} wrong")
    for complaint in complaints[:20]:
        say(f"    {complaint}")
    assert not complaints
    assert fates["set aside"] > FLIPS / 2
