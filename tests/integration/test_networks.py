"""Over which networks recordings go, and how much of a day's limit they take: the real client, a real server."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from socket_api import Reply, SocketApi, as_json
from waiting_recordings import agent, deliveries, fill

from agent.api.transport.alarms import Alarms
from agent.api.transport.socket_tracker import SocketTracker
from agent.config.schema import SyncConfig
from agent.deliverer.wiring import DelivererWiring
from agent.host.net.uplink import NONE, Uplink
from agent.status.board import NetworkNow
from agent.status.process_documents import Queue
from agent.status.status_document import CredentialStatus, MegabytesStatus
from agent.status.status_now import status_now
from agent.sync.rules.networks import NetworkForbidden, NetworkRules

CABLE, WIFI, MODEM = Uplink("ethernet", False), Uplink("wifi", False), Uplink("cellular", True)
ROAMS = MODEM._replace(roaming=True)
NO_MODEM = SyncConfig(calls_per_minute=1000, enabled_connections=("ethernet", "wifi"))


@pytest.fixture
def server() -> Iterator[SocketApi]:
    with SocketApi().running() as running:
        yield running


class Link:
    """The connection in use, for a test to change."""

    def __init__(self, parts: DelivererWiring, now: Uplink) -> None:
        self.now = now
        parts.networks = NetworkRules(parts.config.sync, lambda: self.now)


@pytest.mark.parametrize(
    ("settings", "connection", "goes"),
    [
        (NO_MODEM, CABLE, True),
        (NO_MODEM, WIFI, True),
        (NO_MODEM, MODEM, False),
        (NO_MODEM, NONE, True),
        (SyncConfig(calls_per_minute=1000), MODEM, True),
        (SyncConfig(calls_per_minute=1000), ROAMS, False),
        (SyncConfig(calls_per_minute=1000, allow_roaming=True), ROAMS, True),
        (SyncConfig(calls_per_minute=1000, enabled_connections=()), CABLE, False),
    ],
)
def test_where_its_owner_allows(
    server: SocketApi, tmp_path: Path, settings: SyncConfig, connection: Uplink, goes: bool
) -> None:
    """Neither the loop nor ``sync`` makes a call over a forbidden connection; a person's ``--any-network`` does."""
    deliveries(server, 2)
    with agent(tmp_path, server.url, settings) as (parts, _clock):
        Link(parts, connection)
        fill(parts, 2)
        for everything in (False, True):
            done = parts.syncer.drain(everything=everything)
            assert isinstance(done.stopped_by, NetworkForbidden) != goes
        assert bool(server.seen) == goes
        if not goes:
            waiting = parts.board.snapshot.waiting
            assert waiting is not None
            assert "sync --any-network" in str(done.stopped_by)
            assert [entry.attempts for entry in parts.outbox.store.waiting()] == [0, 0]
            assert len(parts.syncer.drain(everything=True, any_network=True).delivered) == 2
            assert isinstance(parts.networks.problem(), NetworkForbidden)


def test_an_upload_ends_when_the_route_moves_to_a_forbidden_connection(
    server: SocketApi, tmp_path: Path
) -> None:
    """In the middle of a body that stalls it is cut, and no attempt is used up; on the cable again it goes."""
    server.script(
        as_json({"id": "rec_1"}, 201),
        as_json({"upload_url": f"{server.url}/bucket/key", "expires_at": None, "headers": {}}),
        Reply(stall="body"),
    )
    with agent(tmp_path, server.url, NO_MODEM) as (parts, clock):
        link = Link(parts, CABLE)
        fill(parts, 1, bytes(4_000_000))
        threading.Timer(1.5, lambda: setattr(link, "now", MODEM)).start()
        done = parts.syncer.drain()
        assert isinstance(done.stopped_by, NetworkForbidden)
        (entry,) = parts.outbox.store.waiting()
        assert (entry.attempts, entry.last_error) == (0, None)
        calls = len(server.seen)
        clock.sleep(60)
        assert isinstance(parts.syncer.drain().stopped_by, NetworkForbidden)
        assert len(server.seen) == calls
        link.now = WIFI
        server.script(Reply(200, b"", (("ETag", '"1"'),)), as_json({"id": "rec_1", "status": "uploaded"}))
        assert len(parts.syncer.drain().delivered) == 1


def test_a_day_is_counted_as_the_kernel_counts_it(server: SocketApi, tmp_path: Path) -> None:
    """Bodies, heads and answers of both directions: the server's own sockets have seen the same number of bytes."""
    deliveries(server, 3)
    with agent(tmp_path, server.url, SyncConfig(calls_per_minute=1000)) as (parts, _clock):
        Link(parts, MODEM)
        fill(parts, 3, bytes(400_000))
        assert len(parts.syncer.drain().delivered) == 3
        used = parts.usage.used()
    received = sum(len(seen.head) + len(seen.body) for seen in server.seen)
    assert used.metered == used.total
    # Answers of this server are some hundred bytes each.
    assert received < used.total < received + 12 * 1000


def test_the_meter_is_exact() -> None:
    """What one end wrote and read is what the other has counted, in pieces and at the end."""
    told: list[int] = []
    tracker = SocketTracker(10.0, None, Alarms("test"), told.append)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = socket.create_connection(listener.getsockname())
        there, _ = listener.accept()
    with here, there:
        tracker._add(here)
        for size in (1, 70_000, 12):
            here.sendall(bytes(size))
            got = 0
            while got < size:
                got += len(there.recv(65536))
            there.sendall(bytes(size))
            back = 0
            while back < size:
                back += len(here.recv(65536))
            tracker.count()
    assert sum(told) == pytest.approx(2 * 70_013, abs=2)


def test_status_says_what_waits_for_which_network(server: SocketApi, tmp_path: Path) -> None:
    """Uplink, metered, roaming, what is waited for, and how much of the day is used."""
    with agent(tmp_path, server.url, NO_MODEM) as (parts, _clock):
        parts.board.report(network=NetworkNow("cellular", True, None, 1_500_000, 2_000_000))
        snapshot, config = parts.board.snapshot, parts.config
        waits, rests = (
            status_now(snapshot, queue, config, tmp_path, credential=CredentialStatus()).network
            for queue in (Queue(pending=1), Queue())
        )
    assert (waits.connection, waits.metered, waits.roaming) == ("cellular", True, None)
    assert waits.waits_for == ["ethernet", "wifi"]
    assert rests.waits_for is None
    assert waits.used_today_mb == MegabytesStatus(1.5, 2.0)
