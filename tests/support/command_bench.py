"""A recorder in a recording setup that gets the API's commands, with a log of what they do."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from both_processes import as_remote
from logcapture import capture_logs
from recording_setup import RecordingSetup
from simulated import RATE, Script, ScriptedSource

from agent.clock import Instant
from agent.config.schema import HeartbeatConfig, RecordingConfig
from agent.disk import Disk
from agent.recording.recorder import Recorder
from agent.sync.remote.commands import Commands
from agent.sync.remote.processed_commands import ProcessedCommands

GRANT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkZXZfMSJ9.c2lnbmF0dXJl"
KEYS = ("commands", "pending_commands", "command")

Json = dict[str, Any]


def command(identity: str, kind: str = "start_recording", **more: object) -> Json:
    """Return a command as the API shows it."""
    return {
        "id": f"cmd_{identity}",
        "device_id": "dev_1",
        "type": kind,
        "params": {},
        "grant_token": GRANT,
        **more,
    }


class Bench:
    """A recorder in a recording setup, and what obeys for it."""

    def __init__(self, folder: Path, mode: str = "manual", *, enabled: bool = True) -> None:
        self.setup = RecordingSetup(folder, RecordingConfig(mode=mode, segment_seconds=600))  # type: ignore[arg-type] # a mode
        self.clock = self.setup.clock
        environment = self.setup.environment
        environment.config = msgspec.structs.replace(
            environment.config, heartbeat=HeartbeatConfig(remote_commands=enabled)
        )
        self.uploads: list[str] = []
        self.effects: list[tuple[float, str]] = []
        self.unix_time: Callable[[], float | None] = self.clock.wall
        self.log: list[dict[str, Any]] = []
        self._commands: Commands | None = None

    @property
    def commands(self) -> Commands:
        """What obeys, made when the recorder is there."""
        if self._commands is None:
            self._commands = Commands(
                self.setup.environment,
                as_remote(self.setup.recorder),
                self.remembered(),
                unix_time=self.unix_time,
                upload_everything=lambda: self.uploads.append("everything"),
                upload_soon=lambda: self.uploads.append("soon"),
            )
        return self._commands

    def now(self) -> Instant:
        """Return this moment."""
        return self.setup.time_sync.instant(self.clock.monotonic())

    def remembered(self) -> ProcessedCommands:
        """Read the memory from the disk."""
        return ProcessedCommands(self.setup.folder, Disk(), self.now)

    def answer(self, *orders: object, key: str = "commands") -> None:
        """Take a heartbeat's answer."""
        self.commands.take({"status": "ok", key: list(orders)})

    def look(self) -> None:
        """Look for effects, as the heartbeat does."""
        if self.commands.took_effect():
            self.effects.append(
                (round(self.clock.monotonic() - 1000, 1), self.setup.board.snapshot.state.value)
            )

    def run(self, seconds: float, plan: Mapping[float, Callable[[], object]], *, sound: bool = True) -> None:
        """Run the recorder for so long, and do what is planned on the way; effects are looked for all the time."""
        for at, act in plan.items():
            self.clock.after(at, act)
        for tick in range(int(seconds * 4)):
            self.clock.after(tick / 4, self.look)

        def end() -> None:
            self.setup.recorder.stop()

        self.clock.after(seconds, end)

        def script(source: ScriptedSource, _recorder: Recorder) -> Script:
            while True:
                yield from source.sound(1) if sound else source.nothing(1)

        with capture_logs() as captured:
            self.setup.record(script)
        self.log = captured

    def said(self, action: str) -> list[dict[str, Any]]:
        """Return the records of an action."""
        return [record for record in self.log if record["action"] == action]

    @property
    def seconds(self) -> list[float]:
        """How long each recording is."""
        return [samples / RATE for samples in self.setup.samples]
