"""How many requests the agent makes, whatever happens: the real client and loop, a real server, simulated time."""

import os
import random
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from logcapture import capture_logs
from socket_api import Reply, SocketApi, as_json
from waiting_recordings import agent, deliveries, fill, live

from agent.api.errors import RateLimited
from agent.config.schema import SyncConfig
from agent.errors import StillWaiting

HOUR = 3600.0
OFFLINE_SEEDS = int(os.environ.get("OFFLINE_SEEDS", "20"))
REFUSED = as_json({"error": {"code": "unauthorized", "message": "no"}}, 401)


@pytest.fixture
def server() -> Iterator[SocketApi]:
    with SocketApi().running() as running:
        yield running


def test_the_good_case(server: SocketApi, tmp_path: Path) -> None:
    """Three API calls and one PUT per recording, oldest first, over one kept-alive connection for each kind of host."""
    deliveries(server, 6)
    with agent(tmp_path, server.url) as (parts, _clock):
        fill(parts, 6)
        assert len(parts.syncer.drain().delivered) == 6
    calls = [(seen.method, seen.target.partition("?")[0]) for seen in server.seen]
    assert (
        calls
        == [
            ("POST", "/v1/recordings"),
            ("POST", "/v1/recordings/rec_1/upload-url"),
            ("PUT", "/bucket/key"),
            ("POST", "/v1/recordings/rec_1/upload-complete"),
        ]
        * 6
    )
    assert len({seen.connection for seen in server.seen if seen.method == "POST"}) == 1
    assert len({seen.connection for seen in server.seen if seen.method == "PUT"}) == 1


def test_an_hour_offline(server: SocketApi, tmp_path: Path) -> None:
    """An hour without an answer costs 45 attempts at most, with each of many seeds, and no recording's attempts."""
    attempts = []
    first = secrets.randbits(32)
    print(f"an hour offline: {OFFLINE_SEEDS} seeds from {first}")
    for seed in range(first, first + OFFLINE_SEEDS):
        server.script(*(Reply(drop="before"),) * 100)
        before = server.connections
        with capture_logs(), agent(tmp_path / str(seed), server.url) as (parts, clock):
            parts.environment.rng = random.Random(seed)
            fill(parts, 3)
            live(parts, clock, HOUR)
            attempts.append(server.connections - before)
            assert [entry.attempts for entry in parts.outbox.store.waiting()] == [0, 0, 0]
    print(f"an hour offline: {min(attempts)} to {max(attempts)} attempts")
    assert 15 < min(attempts) <= max(attempts) <= 45, sorted(attempts)


def test_an_hour_of_401(server: SocketApi, tmp_path: Path) -> None:
    """A refused token is probed every 15 minutes: five requests an hour at most."""
    server.script(*(REFUSED,) * 100)
    with agent(tmp_path, server.url) as (parts, clock):
        fill(parts, 20)
        live(parts, clock, HOUR)
        assert parts.outbox.store.counts()["pending"] == 20
    assert 4 <= len(server.seen) <= 5


def test_nothing_before_a_retry_after(server: SocketApi, tmp_path: Path) -> None:
    """No request before the time of a 429: not by the loop, by hand, or as a heartbeat, nor by a new process."""
    server.script(Reply(429, b"{}", (("Retry-After", "1800"),)))
    deliveries(server, 5)
    with agent(tmp_path, server.url) as (parts, clock):
        fill(parts, 5)
        live(parts, clock, 1000)
        assert isinstance(parts.syncer.drain(everything=True).stopped_by, StillWaiting)
        with pytest.raises(RateLimited):
            parts.api.heartbeat({}, urgent=True)
        assert len(server.seen) == 1
    with agent(tmp_path, server.url) as (parts, clock):
        # This clock has begun anew with the process: all of the 1800 seconds are ahead again.
        live(parts, clock, 1799)
        parts.syncer.drain(everything=True)
        assert len(server.seen) == 1
        live(parts, clock, 60)
        assert parts.outbox.store.counts()["pending"] == 0
    assert len(server.seen) == 21


def test_the_budget_of_the_settings_holds(server: SocketApi, tmp_path: Path) -> None:
    """With six calls a minute eight recordings, 24 calls, take three minutes."""
    deliveries(server, 8)
    with agent(tmp_path, server.url, SyncConfig(calls_per_minute=6)) as (parts, clock):
        fill(parts, 8)
        began = clock.monotonic()
        assert len(parts.syncer.drain().delivered) == 8
        assert clock.monotonic() - began == pytest.approx(180, abs=1)


def test_the_daily_limit_is_exact_to_one_file(server: SocketApi, tmp_path: Path) -> None:
    """Of five files of 0.4 MB two fit into a MB; not even ``sync`` sends the third; it goes after midnight."""
    deliveries(server, 5)
    with agent(tmp_path, server.url, SyncConfig(calls_per_minute=1000, daily_total_limit_mb=1)) as (
        parts,
        clock,
    ):
        fill(parts, 5, bytes(400_000))
        assert len(parts.syncer.drain().delivered) == 2
        report = parts.syncer.drain(everything=True)
        assert report.delivered == []
        assert "daily total limit" in str(report.stopped_by)
        waiting = parts.board.snapshot.waiting
        assert waiting is not None
        assert waiting.reason == "daily total limit"
        assert len(server.seen) == 8
        live(parts, clock, (waiting.until_ms or 0) / 1000 - clock.wall() + 60)
        assert parts.outbox.store.counts()["pending"] == 1
        assert sum(len(seen.body) for seen in server.seen if seen.method == "PUT") == 4 * 400_000


def test_a_poisoned_recording_stops_nobody(server: SocketApi, tmp_path: Path) -> None:
    """One that is refused is parked, and those behind it are delivered in the same drain."""
    server.script(as_json({"error": {"message": "bad metadata"}}, 422))
    deliveries(server, 4)
    with agent(tmp_path, server.url) as (parts, _clock):
        fill(parts, 5)
        report = parts.syncer.drain()
    assert len(report.delivered) == 4
    assert len(report.parked) == 1


def test_a_server_that_refuses_everything_parks_nothing(server: SocketApi, tmp_path: Path) -> None:
    """After three creates refused alike delivery stops, nothing stays parked, and one probe is made each 15 minutes."""
    server.script(*(as_json({"error": {"message": "wrong"}}, 404),) * 100)
    with agent(tmp_path, server.url) as (parts, clock):
        fill(parts, 50)
        live(parts, clock, HOUR)
        assert parts.outbox.store.counts() == {"pending": 50, "parked": 0, "held": 0}
    assert 3 <= len(server.seen) <= 3 + 4
