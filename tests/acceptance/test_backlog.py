"""Ten thousand recordings wait: what is asked of the index does not grow with them, nor does the memory."""

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from backlog_child import STEPS
from socket_api import SocketApi
from waiting_recordings import agent, deliveries, fill, live

from agent.clock import Instant
from agent.config.schema import OffPeakHours, SyncConfig
from agent.deliverer.wiring import DelivererWiring
from agent.index.table.store import Store
from agent.outbox.entry import Status
from agent.sync.rules.forecast import Pace, drain_seconds

MANY = 10_000
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[DelivererWiring]:
    with agent(tmp_path, NOWHERE) as (built, _clock):
        yield built


HOT: dict[str, Callable[[Store], object]] = {
    "waiting": lambda store: next(iter(store.waiting()), None),
    "oldest waiting": lambda store: store.oldest_waiting(),
    "gates": lambda store: store.unset_clocks(),
    "ready": lambda store: store.ready(""),
    "end backoffs": lambda store: store.end_backoffs("boot", 1, 1),
    "next ready": lambda store: store.next_ready_ms("boot"),
    "parked before": lambda store: store.parked_before(1),
    "counts": lambda store: store.counts(),
    "total bytes": lambda store: store.total_bytes(),
    "pending bytes": lambda store: store.pending_bytes(),
    "get": lambda store: store.get("x"),
    "held": lambda store: next(iter(store.held()), None),
    "last delivery": lambda store: store.last_delivery_ms(),
    "pause": lambda store: store.pause("api"),
}


@pytest.mark.parametrize("name", HOT)
def test_hot_queries_use_an_index(parts: DelivererWiring, name: str) -> None:
    """No query that is made again and again walks through recordings or sorts them."""
    store = parts.outbox.store
    asked: list[str] = []
    store._connection.set_trace_callback(asked.append)
    HOT[name](store)
    store._connection.set_trace_callback(None)
    assert asked
    for sql in asked:
        plan = [row[3] for row in store._connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
        for step in plan:
            assert not re.search(
                r"SCAN recordings(?! USING (COVERING )?INDEX recordings_(waiting|held))", step
            ), plan
            assert "TEMP B-TREE" not in step, plan


def test_totals_follow_every_change(parts: DelivererWiring) -> None:
    """What SQLite keeps count of is what counting would find, through every change of a recording."""
    outbox, store = parts.outbox, parts.outbox.store
    fill(parts, 30)
    entries = list(store.all())
    for entry in entries[:5]:
        outbox.park(entry, "refused")
    for entry in entries[5:9]:
        outbox.hold(entry)
    for entry in entries[9:12]:
        outbox.complete(entry, verified=True)
    outbox.retry(outbox.store.get(entries[0].id) or entries[0])
    outbox.delete(outbox.store.get(entries[1].id) or entries[1])
    outbox.prune(outbox.store.get(entries[9].id) or entries[9])
    store.update(entries[20], "again")
    counted = {"pending": 0, "parked": 0, "held": 0}
    for entry in store.all():
        if entry.status is not Status.UPLOADED:
            counted[entry.status.value if entry.status.value in counted else "pending"] += 1
    assert store.counts() == counted == {"pending": 19, "parked": 3, "held": 4}
    assert store.total_bytes() == sum(entry.size_bytes for entry in store.all())
    assert store.pending_bytes() == 19 * entries[0].size_bytes


def drained(folder: Path, count: int) -> dict[str, Any]:
    """Return what draining ``STEPS`` of so many recordings cost a process of its own."""
    with SocketApi().running() as server:
        deliveries(server, STEPS + 1)
        with agent(folder, server.url) as (built, _clock):
            fill(built, count)
        child = Path(__file__).parents[1] / "support" / "backlog_child.py"
        run = subprocess.run(
            [sys.executable, child, folder, server.url],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
    return dict(json.loads(run.stdout.splitlines()[-1]))


def test_ten_thousand_cost_no_more_than_two_hundred(tmp_path: Path) -> None:
    """A step of the drain takes as long, and no more memory, with 10,000 recordings behind it as with 200."""
    few, many = drained(tmp_path / "few", 200), drained(tmp_path / "many", MANY)
    assert few["delivered"] == many["delivered"] == STEPS
    assert many["grown_kib"] < 2048, (few, many)
    assert many["step_seconds"] < 2 * few["step_seconds"], (few, many)
    assert many["status_seconds"] < 3 * few["status_seconds"], (few, many)


def test_what_is_not_due_is_not_read(parts: DelivererWiring, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings that back off, or wait for the clock, cost a drain nothing however many they are."""
    store = parts.outbox.store
    fill(parts, 400)
    for number, entry in enumerate(store.all()):
        if number < 200:
            later = parts.connection.deadlines.after(600)
            parts.outbox.index(entry, "backoff", next_attempt=later, next_attempt_ms=later.wall_ms)
        else:
            unknown = Instant(entry.started.wall_ms, "an earlier boot", 0, "unsynchronized")
            parts.outbox.index(entry, "clock", started=unknown)
    read: list[str] = []
    query = store._query

    def counting(where: str, *arguments: Any, **limits: Any) -> Any:
        found = query(where, *arguments, **limits)
        read.extend(entry.id for entry in found)
        return found

    monkeypatch.setattr(store, "_query", counting)
    assert list(parts.syncer._due()) == []
    assert len(read) <= 20


def test_a_backoff_ends_by_the_boot_clock_and_after_a_reboot_by_the_wall(parts: DelivererWiring) -> None:
    """What has waited long enough is due again, in its place; a wait set under a clock far ahead is over."""
    store, clock = parts.outbox.store, parts.clock
    fill(parts, 4)
    first, second, third, fourth = store.all()
    for entry, seconds in ((first, 100.0), (second, 50.0)):
        later = parts.connection.deadlines.after(seconds)
        parts.outbox.index(entry, "backoff", next_attempt=later, next_attempt_ms=later.wall_ms)
    for entry, seconds in ((third, 75.0), (fourth, 40 * 86_400.0)):
        wall_ms = round((clock.wall() + seconds) * 1000)
        other = Instant(wall_ms, "another boot", 5, "")
        parts.outbox.index(entry, "backoff", next_attempt=other, next_attempt_ms=wall_ms)
    due = parts.syncer._due
    assert [entry.seq for entry in due()] == [4]
    assert parts.syncer._seconds_to_next() == pytest.approx(10)
    clock.sleep(60)
    assert [entry.seq for entry in due()] == [2, 4]
    clock.sleep(60)
    assert [entry.seq for entry in due()] == [1, 2, 3, 4]


def test_parked_ones_are_revived_a_few_at_a_time(parts: DelivererWiring) -> None:
    """A thousand that are due for their daily try are not all taken up at once; damaged ones never are."""
    fill(parts, 60)
    for entry in list(parts.outbox.store.all()):
        parts.outbox.store.update(
            type(entry)(
                **{**_fields(entry), "parked_ms": 1, "parked_reason": "damaged: x" if entry.seq == 1 else "x"}
            ),
            "park",
        )
    parts.failures.revive_parked()
    assert parts.outbox.store.counts()["pending"] == 20
    for _ in range(5):
        parts.failures.revive_parked()
    assert parts.outbox.store.counts() == {"pending": 59, "parked": 1, "held": 0}


def _fields(entry: Any) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__struct_fields__}


def test_off_peak_hours_hold_back_and_end_by_themselves(tmp_path: Path) -> None:
    """Outside the hours nothing is sent, status says until when; ``sync`` ignores them; at their start it goes on."""
    hours = OffPeakHours(start="02:00", end="06:00", timezone="UTC")  # the clock begins at midnight UTC
    with SocketApi().running() as server:
        deliveries(server, 3)
        settings = SyncConfig(calls_per_minute=1000, off_peak_hours=hours)
        with agent(tmp_path, server.url, settings) as (parts, clock):
            fill(parts, 1)
            live(parts, clock, 600)
            waiting = parts.board.snapshot.waiting
            assert waiting is not None
            assert (waiting.reason, waiting.until_ms) == ("off-peak", round((clock.wall() + 6600) * 1000))
            assert server.seen == []
            assert len(parts.syncer.drain(everything=True).delivered) == 1
            fill(parts, 2, first=2)
            live(parts, clock, 6500)
            assert len(server.seen) == 4
            live(parts, clock, 200)
            assert len(server.seen) == 12


@pytest.mark.parametrize(
    ("pending", "each", "every", "settings", "expected"),
    [
        (0, None, 600, SyncConfig(), 0),
        (100, None, 600, SyncConfig(), None),
        (100, 6, None, SyncConfig(), 600),
        (100, 6, 600, SyncConfig(), 100 * 6 / 0.99),
        (100, 700, 600, SyncConfig(), None),
        (100, 6, None, SyncConfig(off_peak_hours=OffPeakHours(start="02:00", end="08:00")), 2400),
        (100, 6, None, SyncConfig(daily_data_limit_mb=10), 100 * 86_400),
    ],
)
def test_how_long_it_will_take(
    pending: int, each: float | None, every: float | None, settings: SyncConfig, expected: float | None
) -> None:
    """The newest deliveries' pace, less what is recorded meanwhile, within the owner's hours and data."""
    seconds = drain_seconds(pending, pending * 10_000_000, each, every, settings, is_metered=True)
    assert seconds == (None if expected is None else pytest.approx(expected))


def test_the_pace_is_that_of_the_newest(parts: DelivererWiring) -> None:
    """A slower line shows after a few deliveries; the rest between two drains does not count."""
    clock = parts.clock
    pace = Pace(clock.monotonic)
    for seconds in (10.0,) * 5 + (30.0,) * 20:
        clock.sleep(seconds)
        pace.delivered()
    assert pace.seconds_each == pytest.approx(30, abs=0.5)
    clock.sleep(10_000)
    pace.begins()
    clock.sleep(30)
    assert pace.delivered() == pytest.approx(30, abs=0.5)


def test_the_trace_sees_a_scan(parts: DelivererWiring) -> None:
    """The check of the plans would notice a query without an index."""
    store = parts.outbox.store
    plan = store._connection.execute(
        "EXPLAIN QUERY PLAN SELECT * FROM recordings WHERE name = 'x'"
    ).fetchall()
    assert any(re.search(r"SCAN recordings", row[3]) for row in plan)
    assert sqlite3.sqlite_version_info >= (3, 38)
