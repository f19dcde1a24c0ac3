"""The sign of life while all is well: when it comes, what it says, and the commands it brings back."""

import itertools
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from acceptance import Machine, machine, server, wait_for
from both_processes import as_remote
from heartbeat_bench import HOUR, Bench, bench, clock, moments
from speech import speech, write_wav

from agent.config.schema import HeartbeatConfig, StorageConfig
from agent.deliverer.threads import SyncThreads
from agent.deliverer.wiring import DelivererWiring
from agent.environment import Environment
from agent.host.battery import Battery
from agent.host.net.network import Network
from agent.host.storage import DiskUsage
from agent.process.state_directory import StateDirectory
from agent.sandbox.server import SandboxServer
from agent.status.board import RecordingNow, State, Transfer
from agent.sync.remote.payload import HeartbeatPayload

__all__ = ["bench", "clock", "machine", "server"]


def apart(times: list[float]) -> list[float]:
    """Return the differences."""
    return [later - earlier for earlier, later in itertools.pairwise(times)]


# rhythm


def test_one_a_minute_with_jitter(bench: Bench) -> None:
    """An hour has about sixty, each 51 to 66 s after the one before, hardly two alike; the first comes within 10 s."""
    began = bench.clock.wall()
    bench.run(HOUR)
    times = moments(bench)
    assert 0 <= times[0] - began <= 10
    assert 55 <= len(times) <= 71
    gaps = apart(times)
    assert all(50.9 <= gap <= 66.1 for gap in gaps)
    assert len({round(gap, 1) for gap in gaps}) > 20


# what it says


def test_the_body_has_what_is_known(bench: Bench) -> None:
    """On this machine: no battery field at all, and what there is fits the API's words (the sandbox is strict)."""
    bench.heartbeat.beat()
    (body,) = bench.bodies
    assert body["firmware_version"].startswith("recorder-agent/")
    assert body["device_state"] == "idle"
    assert body["pending_recordings"] == 0
    assert 0 == body["storage_used_mb"] < body["storage_total_mb"]
    assert set(body) <= {
        "storage_used_mb",
        "storage_total_mb",
        "firmware_version",
        "device_state",
        "pending_recordings",
        "flags",
        "connection_type",
    }


def test_an_index_that_fails_stops_no_heartbeat(bench: Bench) -> None:
    """Let go of because the disk fails: the owner hears from the device, without what only the index knows."""
    bench.parts.outbox.store.let_go()
    bench.heartbeat.beat()
    bench.heartbeat.beat()
    assert len(bench.bodies) == 2
    assert "pending_recordings" not in bench.bodies[0]


class Modem(Network):
    """A network through WiFi and a modem."""

    def connection_types(self) -> list[str]:
        """Both."""
        return ["wifi", "4g"]


class Figures(NamedTuple):
    """An index of which only two figures are asked."""

    counts: Callable[[], Any]
    undelivered_bytes: Callable[[], Any]


def payload_of(
    bench: Bench,
    figures: Figures,
    network: Network,
    *,
    name: str,
    max_mb: int,
    battery: Callable[[], Battery | None],
    usage: Callable[[Path], DiskUsage],
) -> HeartbeatPayload:
    """Return what a heartbeat says by these figures, and by what is on the board."""
    config = msgspec.structs.replace(
        bench.config,
        heartbeat=HeartbeatConfig(device_name=name),
        storage=StorageConfig(min_free_mb=200, max_mb=max_mb),
    )
    environment = Environment(config, Path(), clock=bench.clock)
    environment.board = bench.parts.board
    store: Any = figures
    return HeartbeatPayload(environment, store, network, battery=battery, disk_usage=usage)


def test_the_sandbox_takes_a_full_body(bench: Bench) -> None:
    """Every field and every flag, names cut to their lengths, counted in the API's units."""
    bench.parts.board.report(
        state=State.RECORDING, recording=RecordingNow("a", 0, 1), transfer=Transfer("b", 0, 1)
    )
    payload = payload_of(
        bench,
        Figures(lambda: {"pending": 3}, lambda: 2_500_000),
        Modem(),
        name="n" * 64,
        max_mb=0,
        battery=lambda: Battery(15, charging=False),
        usage=lambda _folder: DiskUsage(free=199_000_000, total=350_000_000),
    )
    body = payload.body()
    assert body == {
        "battery_percent": 15,
        "storage_used_mb": 2,
        "storage_total_mb": 2,
        "firmware_version": "recorder-agent/0.1.0",
        "device_name": "n" * 64,
        "device_state": "recording",
        "pending_recordings": 3,
        "flags": 2 + 4 + 8 + 16 + 32,
        "connection_type": ["wifi", "4g"],
    }
    bench.parts.api.heartbeat(body)
    assert bench.bodies == [body]


@pytest.mark.parametrize(
    ("free", "max_mb", "total"),
    [(1200, 0, 1050), (1200, 500, 500), (1200, 5000, 1050), (100, 0, 50), (100, 500, 50)],
)
def test_the_storage_is_the_recorders_own_share(bench: Bench, free: int, max_mb: int, total: int) -> None:
    """What must stay, and how much that may become by the owner's limit and by what is free."""
    payload = payload_of(
        bench,
        Figures(lambda: {"pending": 0}, lambda: 50_900_000),
        Network(Path("/nowhere"), Path("/nowhere")),
        name="",
        max_mb=max_mb,
        battery=lambda: None,
        usage=lambda _folder: DiskUsage(free=free * 1_000_000, total=32_000_000_000),
    )
    body = payload.body()
    assert (body["storage_used_mb"], body["storage_total_mb"]) == (50, total)
    assert "device_name" not in body


def test_the_owners_name_for_the_device_is_sent(bench: Bench, tmp_path: Path) -> None:
    """It overwrites the portal's, so only one that the owner has set is."""
    config = msgspec.structs.replace(bench.config, heartbeat=HeartbeatConfig(device_name="kitchen"))
    state = StateDirectory(tmp_path / "named", tmp_path / "named")
    state.create()
    parts = DelivererWiring(config, state, {}, clock=bench.clock, machine=lambda: "ntp")
    parts.heartbeat(as_remote(bench.recorder)).beat()
    parts.close()
    bench.heartbeat.beat()
    assert [body.get("device_name") for body in bench.bodies] == ["kitchen", None]


def test_what_cannot_be_read_is_left_out(bench: Bench) -> None:
    """An index and a disk that fail cost their fields, not the heartbeat."""

    def broken() -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    def gone(_folder: Path) -> DiskUsage:
        raise OSError(5, "Input/output error")

    payload = payload_of(
        bench,
        Figures(broken, broken),
        Network(Path("/nowhere"), Path("/nowhere")),
        name="",
        max_mb=0,
        battery=lambda: Battery(80, charging=True),
        usage=gone,
    )
    assert payload.body() == {
        "battery_percent": 80,
        "firmware_version": "recorder-agent/0.1.0",
        "device_state": "idle",
        "flags": 1,
    }


# commands


@pytest.mark.parametrize("key", ["commands", "pending_commands", "command"])
def test_a_command_is_obeyed_and_told_at_once(bench: Bench, key: str) -> None:
    """The sandbox's command starts a recording; its beginning and its end are told without waiting for a minute."""
    bench.server.state.set_switches({"command_key": key, "command_handouts": 3})
    bench.server.state.devices.queue_command("start_recording", {"max_duration_sec": 20})

    def turn() -> None:
        bench.recorder._turn()
        bench.clock.after(0.1, turn)

    # The recorder takes its turns between the heartbeat's waits: one thread owns the simulated time.
    bench.clock.after(0.1, turn)
    bench.run(45)
    states = [body["device_state"] for body in bench.bodies]
    assert states == ["idle", "recording", "idle"]
    first, second, third = moments(bench)
    assert second - first < 3
    assert 19 < third - second < 25
    assert [entry.duration_ms for entry in bench.parts.outbox.store.all()] == [20_000]


def test_a_command_that_another_call_was_given_is_obeyed(bench: Bench) -> None:
    """The server hands it out once; when delivery tries a token by a heartbeat of its own, it is not lost."""
    bench.server.state.devices.queue_command("start_recording", {"max_duration_sec": 20})
    bench.parts.syncer._holds.try_token()
    assert bench.server.state.book.entries.commands == []
    bench.run(1)
    assert not bench.recorder._requests.empty()
    assert bench.said("command_accepted") == ["info"]


def test_a_daemon_obeys(machine: Machine, server: SandboxServer, tmp_path: Path) -> None:
    """The whole agent: a command that waits is obeyed with the first heartbeat, its recording told and delivered."""
    loop = write_wav(tmp_path / "loop.wav", 16_000, 1, speech(16_000, 1, 20 * 16_000))
    machine.configure(
        audio={"input": f"file:{loop}?loop"}, recording={"mode": "manual"}, heartbeat={"interval_seconds": 60}
    )
    server.state.devices.queue_command("start_recording", {"max_duration_sec": 2, "metadata": {"visit": 9}})
    with machine.daemon() as daemon:
        wait_for(lambda: len(server.state.devices.heartbeats) >= 3, 60)
        wait_for(lambda: daemon.status()["pending"] == 0 and bool(server.state.recordings.by_id), 60)
        assert daemon.stop() == 0
    states = [each.body["device_state"] for each in server.state.devices.heartbeats]
    assert states[:2] == ["idle", "recording"]
    assert states[2] in {"idle", "uploading"}
    (recording,) = server.state.recordings.by_id.values()
    assert recording.metadata["visit"] == 9
    assert "command_accepted" in daemon.log()
    assert "grant" not in daemon.log()


def test_no_heartbeat_when_it_is_switched_off(bench: Bench) -> None:
    """heartbeat.enabled = false starts no thread for it."""
    online = SyncThreads(bench.parts, as_remote(bench.recorder), threading.Event(), bench.stopping)
    assert set(online.threads) == {"sync", "network", "heartbeat"}
    online.stop()
    off = msgspec.structs.replace(bench.config, heartbeat=HeartbeatConfig(enabled=False))
    parts = DelivererWiring(off, bench.parts.state, {}, clock=bench.clock)
    online = SyncThreads(parts, as_remote(bench.recorder), threading.Event(), bench.stopping)
    assert set(online.threads) == {"sync", "network"}
    online.stop()
