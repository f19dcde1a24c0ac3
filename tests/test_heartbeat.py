"""The sign of life against the sandbox over real HTTP, with the agent's own parts and hours of simulated time."""

import itertools
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator, MutableMapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from acceptance import Machine, machine, server, wait_for
from joined import join
from logcapture import capture_logs
from simulated import Script, ScriptedSource, SimulatedClock
from speech import speech, write_wav

from agent.config import ApiConfig, Config, HeartbeatConfig, RecordingConfig, StorageConfig
from agent.deliverer.threads import SyncThreads
from agent.deliverer.wiring import DelivererWiring
from agent.host.battery import Battery
from agent.host.network import Network
from agent.host.storage import Room
from agent.outbox.entry import Status
from agent.recorder.wiring import RecorderWiring
from agent.recording.recorder import Recorder
from agent.recording.triggers import trigger_for
from agent.sandbox.faults import Call, Fault
from agent.sandbox.server import SandboxServer
from agent.statedir import StateDirectory
from agent.status.board import Board, CredentialState, RecordingNow, State, Transfer
from agent.sync.remote.vitals import Vitals

__all__ = ["machine", "server"]

HOUR = 3600.0
TOKEN = "dtok_sandbox"


class Bench:
    """The parts of an agent under a simulated clock, and a sandbox that shares it."""

    def __init__(
        self, folder: Path, server: SandboxServer, clock: SimulatedClock, interval: int = 60
    ) -> None:
        self.clock = clock
        self.server = server
        self.token_file = folder / "token"
        self.give_token(TOKEN)
        state = StateDirectory(folder / "state", folder / "state")
        state.create()
        self.config = Config(
            api=ApiConfig(base_url=server.base_url, token_file=str(self.token_file)),
            recording=RecordingConfig(mode="manual"),
            heartbeat=HeartbeatConfig(interval_seconds=interval),
            storage=StorageConfig(min_free_mb=0),
        )
        self.parts = DelivererWiring(self.config, state, {}, clock=clock, machine=lambda: "ntp")
        self.hears = RecorderWiring(self.config, state, clock=clock, machine=lambda: "ntp")
        join(self.hears, self.parts)
        self.parts.rng = random.Random(7)
        source = ScriptedSource(clock, self.script)
        self.recorder = self.hears.recorder(
            source, trigger_for(self.config.recording, clock.wall), unattended=True
        )
        self.heartbeat = self.parts.heartbeat(self.recorder)
        self.stopping = threading.Event()
        self.log: list[MutableMapping[str, Any]] = []

    def script(self, source: ScriptedSource) -> Script:
        """Give sound whenever it is asked for."""
        while True:
            yield from source.sound(1)

    def give_token(self, token: str) -> None:
        """Put a token where the settings say it is."""
        self.token_file.write_text(token)
        self.token_file.chmod(0o600)

    def record(self) -> None:
        """Put a recording into the outbox, as a session of its own."""
        recorder = Recorder(
            ScriptedSource(self.clock, self.script),
            trigger_for(RecordingConfig(), self.clock.wall),
            self.recorder._workshop,
            RecordingConfig(),
            Board(self.clock.monotonic),
        )
        self.clock.after(2, recorder.stop)
        recorder.run()

    def run(self, seconds: float, plan: dict[float, Callable[[], object]] | None = None) -> None:
        """Let heartbeats run for so long."""
        for at, act in (plan or {}).items():
            self.clock.after(at, act)
        self.stopping.clear()
        self.clock.after(seconds, self.stopping.set)
        with capture_logs() as captured:
            self.heartbeat.run(self.stopping)
        self.log += captured

    def deliver(self) -> None:
        """Let delivery run beside the heartbeats, as its loop does."""
        self.parts.outbox.arrived.clear()
        self.parts.syncer.drain()
        self.clock.after(max(0.01, self.parts.syncer._seconds_to_next()), self.deliver)

    def said(self, action: str) -> list[str]:
        """Return the levels of the records of an action."""
        return [record["log_level"] for record in self.log if record["action"] == action]

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """What heartbeats said."""
        return [heartbeat.body for heartbeat in self.server.state.devices.heartbeats]

    def online(self) -> bool | None:
        """Return what the board says."""
        return self.parts.board.snapshot.online


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()


@pytest.fixture
def bench(tmp_path: Path, clock: SimulatedClock) -> Iterator[Bench]:
    with SandboxServer(tmp_path / "sandbox", now=clock.wall) as running:
        bench = Bench(tmp_path, running, clock)
        yield bench
        bench.parts.close()


def moments(bench: Bench) -> list[float]:
    """Return when heartbeats were sent, in seconds."""
    return [datetime.fromisoformat(each.at).timestamp() for each in bench.server.state.devices.heartbeats]


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


class Modem(Network):
    """A network through WiFi and a modem."""

    def connection_types(self) -> list[str]:
        """Both."""
        return ["wifi", "4g"]


def test_the_sandbox_takes_a_full_body(bench: Bench) -> None:
    """Every field and every flag, names cut to their lengths, counted in the API's units."""
    board = Board(bench.clock.monotonic)
    board.report(state=State.RECORDING, recording=RecordingNow("a", 0, 1), transfer=Transfer("b", 0, 1))
    vitals = Vitals(
        board,
        lambda: {"pending": 3},
        lambda: 2_500_000,
        device_name="n" * 64,
        battery=lambda: Battery(15, charging=False),
        room=lambda: Room(free=199_000_000, total=350_000_000),
        network=Modem(),
        low_battery_percent=20,
        min_free_mb=200,
        max_mb=0,
    )
    body = vitals.body()
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
    vitals = Vitals(
        bench.parts.board,
        lambda: {"pending": 0},
        lambda: 50_900_000,
        device_name="",
        battery=lambda: None,
        room=lambda: Room(free=free * 1_000_000, total=32_000_000_000),
        network=Network(Path("/nowhere"), Path("/nowhere")),
        low_battery_percent=20,
        min_free_mb=200,
        max_mb=max_mb,
    )
    body = vitals.body()
    assert (body["storage_used_mb"], body["storage_total_mb"]) == (50, total)
    assert "device_name" not in body


def test_the_owners_name_for_the_device_is_sent(bench: Bench, tmp_path: Path) -> None:
    """It overwrites the portal's, so only one that the owner has set is."""
    config = msgspec.structs.replace(bench.config, heartbeat=HeartbeatConfig(device_name="kitchen"))
    state = StateDirectory(tmp_path / "named", tmp_path / "named")
    state.create()
    parts = DelivererWiring(config, state, {}, clock=bench.clock, machine=lambda: "ntp")
    parts.heartbeat(bench.recorder).beat()
    parts.close()
    bench.heartbeat.beat()
    assert [body.get("device_name") for body in bench.bodies] == ["kitchen", None]


def test_what_cannot_be_read_is_left_out(bench: Bench) -> None:
    """An index and a disk that fail cost their fields, not the heartbeat."""

    def broken() -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    def gone() -> Room:
        raise OSError(5, "Input/output error")

    vitals = Vitals(
        bench.parts.board,
        broken,
        broken,
        device_name="",
        battery=lambda: Battery(80, charging=True),
        room=gone,
        network=Network(Path("/nowhere"), Path("/nowhere")),
        low_battery_percent=20,
        min_free_mb=200,
        max_mb=0,
    )
    assert vitals.body() == {
        "battery_percent": 80,
        "firmware_version": "recorder-agent/0.1.0",
        "device_state": "idle",
        "flags": 1,
    }


# answers


@pytest.mark.parametrize(
    "body",
    [
        None,
        "<html>ok</html>",
        [],
        {},
        {"commands": 7},
        {"commands": [None, {"id": 3}, [], {"id": "cmd_1", "type": {}}]},
        {"command": {"commands": {}}},
        {"firmware": [1, 2]},
    ],
    ids=str,
)
def test_no_answer_makes_it_fail(bench: Bench, body: object) -> None:
    """Whatever the body of a 2xx is, the next heartbeat comes when it is due."""
    bench.server.faults.add(Fault(Call.HEARTBEAT, status=200, body=body))
    bench.run(130)
    assert 1 <= len(bench.bodies) <= 3
    assert bench.online() is True
    assert bench.said("heartbeat_refused") == []


@pytest.mark.parametrize(("status", "slowest"), [(400, 480), (404, 480), (500, 480), (503, 480)])
def test_one_that_is_not_taken_comes_again_later_and_later(bench: Bench, status: int, slowest: float) -> None:
    """A WARNING, then DEBUG, each wait twice the one before; when one is taken again that is said."""
    bench.server.faults.add(Fault(Call.HEARTBEAT, times=4, status=status, body={"error": "no"}))
    bench.run(HOUR)
    assert bench.said("heartbeat_refused") == ["warning", "debug", "debug", "debug"]
    assert bench.said("heartbeat_taken") == ["info"]
    assert bench.bodies
    assert bench.online() is True
    refused = [line for line in bench.server.requests() if line["status"] == status]
    assert len(refused) == 4
    assert slowest < moments(bench)[0] - 1_767_225_600 < 3 * slowest


# offline


def offline_tries(bench: Bench) -> int:
    return len(bench.said("sync_offline"))


@pytest.mark.parametrize("with_recording", [False, True])
def test_an_hour_offline_has_few_tries(bench: Bench, with_recording: bool) -> None:
    """Heartbeats and delivery share one backoff: together at most 45, a WARNING, DEBUG, and the end at INFO."""
    if with_recording:
        bench.record()
        bench.clock.after(0.5, bench.deliver)
    bench.server.stop()
    bench.run(HOUR)
    assert 5 < offline_tries(bench) <= 45
    assert bench.said("sync_offline")[:2] == ["warning", "debug"]
    assert set(bench.said("sync_offline")[1:]) == {"debug"}
    assert bench.online() is False

    bench.server.start()
    bench.run(700)

    assert bench.said("sync_online") == ["info"]
    assert bench.bodies
    assert bench.online() is True
    waiting = [entry for entry in bench.parts.outbox.store.all() if entry.status is not Status.UPLOADED]
    assert waiting == []
    assert all(entry.attempts == 0 for entry in bench.parts.outbox.store.all())


@pytest.mark.parametrize("with_recording", [False, True])
def test_a_network_that_is_back_is_tried_at_once(bench: Bench, with_recording: bool) -> None:
    """In the depth of a backoff: with something to deliver delivery goes first, without it a heartbeat does."""
    bench.server.stop()
    bench.run(HOUR)
    if with_recording:
        bench.record()
    rest = bench.parts.conclusions.rest
    assert rest is not None
    bench.server.start()
    online = SyncThreads(bench.parts, bench.recorder, threading.Event(), bench.stopping)
    online._heartbeat = bench.heartbeat

    online._try_at_once()

    before = bench.clock.wall()
    assert bench.parts.conclusions.rest is None
    assert bench.parts.outbox.arrived.is_set()
    if with_recording:
        bench.deliver()
        assert bench.parts.outbox.store.counts()["pending"] == 0
    bench.run(0.1)
    assert bench.online() is True
    if not with_recording:
        assert moments(bench)[0] - before < 1


# credential


def test_an_hour_of_401_has_few_tries(bench: Bench) -> None:
    """Delivery and heartbeats share the probes: at most five calls an hour, a loud word once, and what waits stays."""
    bench.record()
    bench.server.state.devices.revoke(TOKEN)
    bench.clock.after(0.5, bench.deliver)
    bench.run(HOUR)
    assert 1 <= len(bench.server.requests()) <= 5
    assert bench.said("credential_refused")[0] == "error"
    assert set(bench.said("credential_refused")[1:]) <= {"debug"}
    assert bench.parts.board.snapshot.credential is CredentialState.REFUSED
    assert bench.parts.outbox.store.counts()["pending"] == 1


def test_a_heartbeat_alone_probes_every_quarter_of_an_hour(bench: Bench) -> None:
    """With nothing to deliver it is the one that finds out, and a token that changes is tried within seconds."""
    bench.server.state.devices.revoke(TOKEN)
    bench.run(HOUR)
    assert 4 <= len(bench.server.requests()) <= 5
    bench.server.state.devices.bind("dtok_new")
    bench.give_token("dtok_new")
    bench.run(8)
    assert len(bench.bodies) == 1
    assert bench.parts.board.snapshot.credential is CredentialState.ACCEPTED
    bench.run(70)
    assert len(bench.bodies) >= 2


def test_without_a_token_nothing_is_sent(bench: Bench) -> None:
    """It is said once, and the first token that appears is used within seconds."""
    bench.token_file.unlink()
    bench.run(HOUR)
    assert bench.server.requests() == []
    assert bench.said("credential_missing")[0] == "error"
    assert "error" not in bench.said("credential_missing")[1:]
    bench.give_token(TOKEN)
    bench.run(8)
    assert len(bench.bodies) == 1


# limits


def test_a_pause_is_for_everybody(bench: Bench) -> None:
    """After a 429 to a heartbeat neither it nor delivery calls before the time it said."""
    bench.record()
    bench.server.faults.add(
        Fault(Call.HEARTBEAT, status=429, body={"error": "slow"}, headers={"Retry-After": "600"})
    )
    bench.heartbeat.beat()
    before = len(bench.server.requests())
    bench.clock.after(0.5, bench.deliver)
    bench.run(599)
    assert len(bench.server.requests()) == before == 1
    bench.run(300)
    assert bench.parts.outbox.store.counts()["pending"] == 0
    assert bench.bodies


def test_a_pause_that_delivery_met_holds_for_heartbeats(bench: Bench) -> None:
    """The first heartbeat comes after it."""
    bench.record()
    bench.server.faults.add(
        Fault(Call.CREATE, status=429, body={"error": "slow"}, headers={"Retry-After": "600"})
    )
    bench.parts.syncer.drain()
    began = bench.clock.wall()
    bench.run(900)
    times = moments(bench)
    assert times[0] - began >= 600
    assert len(bench.server.requests()) == 1 + len(times)


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
        wait_for(lambda: len(server.state.devices.heartbeats) >= 3)
        wait_for(lambda: daemon.status()["pending"] == 0 and bool(server.state.recordings.by_id))
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
    online = SyncThreads(bench.parts, bench.recorder, threading.Event(), bench.stopping)
    assert set(online.threads) == {"sync", "network", "heartbeat"}
    online.stop()
    off = msgspec.structs.replace(bench.config, heartbeat=HeartbeatConfig(enabled=False))
    parts = DelivererWiring(off, bench.parts.state, {}, clock=bench.clock)
    online = SyncThreads(parts, bench.recorder, threading.Event(), bench.stopping)
    assert set(online.threads) == {"sync", "network"}
    online.stop()
