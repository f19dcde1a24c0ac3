"""An agent that sends heartbeats to a sandbox over real HTTP, under a simulated clock that both share."""

import random
import threading
from collections.abc import Callable, Iterator, MutableMapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from both_processes import as_remote, join
from logcapture import capture_logs
from simulated import Script, ScriptedSource, SimulatedClock

from agent.config.schema import ApiConfig, Config, HeartbeatConfig, RecordingConfig, StorageConfig
from agent.deliverer.wiring import DelivererWiring
from agent.environment import Environment
from agent.process.state_directory import StateDirectory
from agent.recorder.wiring import RecorderWiring
from agent.recording.recorder import Recorder
from agent.recording.session_in_hand import Unattended
from agent.recording.triggers import trigger_for
from agent.sandbox.server import SandboxServer

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
        self.parts.environment.rng = random.Random(7)
        source = ScriptedSource(clock, self.script)
        self.recorder = self.hears.recorder(
            source, trigger_for(self.config.recording, clock.wall), unattended=True
        )
        self.heartbeat = self.parts.heartbeat(as_remote(self.recorder))
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
            Environment(Config(), self.hears.state.path, clock=self.clock),
            ScriptedSource(self.clock, self.script),
            trigger_for(RecordingConfig(), self.clock.wall),
            self.recorder._segment_factory,
            self.recorder._storage,
            Unattended(),
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
