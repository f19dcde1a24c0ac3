"""An index with flipped bits, cut short, empty, of another program or of the future: the files are enough."""

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cases import SECONDS, lost_seconds
from crash_setup import Driver, Ground, clear, fresh_seed, in_parallel, say, segment_factory, sound
from scenes import NEVER

FLIPS_A_PAGE = 8
"""How many damaged indexes are made of each page, each by one bit where something is written."""
IGNORES_KEYS = {"honour_idempotency": False}


@dataclass(frozen=True)
class Damage:
    """A way to damage an index."""

    name: str
    do: Callable[[Path], None]


def damages(index: Path, rng: random.Random) -> Iterator[Damage]:
    """Yield all of them for an index as it is."""
    data = index.read_bytes()
    size = int.from_bytes(data[16:18], "big")
    for page in range(len(data) // size):
        used = [at for at in range(page * size, page * size + size) if data[at]]
        for at in rng.sample(used, min(len(used), FLIPS_A_PAGE)):
            yield flip(page, at, rng.randrange(8))
        yield Damage(f"page {page} of noise", _overwrite(page * size, rng.randbytes(size)))
    for quarter in range(4):
        yield Damage(f"cut at {quarter}/4", _cut(len(data) * quarter // 4))
    yield Damage("no database", lambda path: _set(path, b"this is no database\n" * 500))
    yield Damage("another schema", _another_schema)
    yield Damage("newer schema", _newer_schema)
    yield Damage("column missing", _column_missing)
    yield Damage(
        "garbage in the log", lambda path: _set(path.with_name("outbox.db-wal"), rng.randbytes(20_000))
    )
    yield Damage(
        "garbage in the shared memory",
        lambda path: _set(path.with_name("outbox.db-shm"), rng.randbytes(32768)),
    )
    yield Damage("gone", lambda path: path.unlink())


def test_a_damaged_index_costs_nothing() -> None:
    """However the index is damaged: the next start goes on, everything undelivered arrives, nothing is sent twice."""
    seed = fresh_seed()
    with segment_factory("damage") as folder:
        driver = Driver()
        wav = sound(folder, 2 * SECONDS)
        with Ground(folder / "first") as first:
            first.live(driver, wav=wav, seconds=SECONDS)
            first.live(driver, wav=wav, seconds=SECONDS, background=NEVER, settle=False)
            assert first.judge({}).complaints  # two wait, so the oracle is not content yet
        driver.close()
        todo = list(damages(first.state / "outbox.db", random.Random(seed)))

        def one(driver: Driver, item: tuple[int, Damage]) -> tuple[str, list[str], bool]:
            number, damage = item
            result = meet(driver, first, folder / str(number), damage)
            clear(folder / str(number))
            return result

        results = in_parallel(enumerate(todo), one)

    bad = [(name, complaints) for name, complaints, _ in results if complaints]
    kinds = Counter(name.split(" ")[0] for name, _, _ in results)
    say(
        f"damaged indexes: {len(results)} ({dict(kinds)}), {len(bad)} wrong; "
        f"set aside and rebuilt {sum(aside for *_, aside in results)}"
    )
    for name, complaints in bad[:30]:
        say(f"    {name}: {'; '.join(complaints[:4])}")
    assert not bad


def meet(driver: Driver, first: Ground, folder: Path, damage: Damage) -> tuple[str, list[str], bool]:
    """Damage a copy of what the first life left, go on twice, and return what the oracle says."""
    shutil.copytree(first.folder, folder, symlinks=True)
    with Ground(folder) as ground:
        ground.server.state.set_switches(IGNORES_KEYS)
        damage.do(ground.state / "outbox.db")
        ends = [ground.live(driver) for _ in range(2)]
        story = ground.story()
        verdict = ground.judge(story.finished)
        complaints = [f"ended with {end}" for end in ends if end != {"signal": None, "code": 0}]
        complaints += verdict.complaints
        if abs(lost_seconds(story, verdict.samples)) > 0.001:
            complaints.append(f"{lost_seconds(story, verdict.samples):.3f} s of sound are missing")
        aside = any(ground.state.glob("outbox.db.damaged-*"))
        traceback = ground.diary.with_suffix(".traceback")
        if traceback.exists():
            complaints.append(traceback.read_text().splitlines()[-1])
        return damage.name, complaints, aside


def flip(page: int, offset: int, bit: int) -> Damage:
    """Return the flip of one bit."""

    def do(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[offset] ^= 1 << bit
        path.write_bytes(data)

    return Damage(f"flip in page {page} at {offset}, bit {bit}", do)


def _overwrite(offset: int, noise: bytes) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[offset : offset + len(noise)] = noise
        path.write_bytes(data)

    return do


def _cut(size: int) -> Callable[[Path], None]:
    return lambda path: _set(path, path.read_bytes()[:size])


def _set(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    try:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    finally:
        connection.close()


def _another_schema(path: Path) -> None:
    path.unlink()
    _change(path, "CREATE TABLE recordings (title TEXT)", "INSERT INTO recordings VALUES ('a film')")


def _newer_schema(path: Path) -> None:
    _change(path, "INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('outbox', 'of_the_future')")


def _column_missing(path: Path) -> None:
    _change(path, "ALTER TABLE recordings DROP COLUMN gap_ms")
