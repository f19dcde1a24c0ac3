"""A machine as a customer has it: one configuration, one state directory, and the command line, from outside.

Commands are processes of their own with an environment that holds nothing of the one the tests run in. Whatever
they are made to meet, no traceback may reach standard error: ``Machine.run`` checks that each time.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tomli_w

import agent
from agent.control.server import NotRunning, ask
from agent.process.state_directory import Process, StateDirectory
from agent.process.state_lock import holder_of
from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.server import SandboxServer
from agent.status.status_document import merged, status_document

PROGRAM = Path(sys.executable).with_name("recorder-agent")
COMMAND_SECONDS = 60.0
"""Nothing a test asks for takes so long, on the slowest machine."""
POLL_SECONDS = 0.02
STEPS = {"recordings": "create", "upload-url": "url", "upload-complete": "complete"}
"""The calls of one delivery by the end of their path; the upload itself is ``put``."""

ALIKE = 0.8
"""The least correlation of decoded speech with what was spoken; one frame out of place gives less than 0.3."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """What one command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The answer, when it is one JSON value."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[Json]:
        """The answer, when it is a JSON object a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    def sentence(self, code: int) -> str:
        """Return the one sentence on standard error of a command that must have ended with ``code``."""
        assert self.code == code, self
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("recorder-agent: "), self.err
        return lines[0].removeprefix("recorder-agent: ")


class Machine:
    """One agent: its settings, its state, its environment."""

    def __init__(self, folder: Path, server: SandboxServer | None = None) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.config_file = folder / "config.toml"
        self.token_file = folder / "device-token"
        self.environment = _environment(folder)
        self.program: list[str | Path] = [PROGRAM]
        self.settings: dict[str, Json] = {
            "storage": {"directory": str(self.state), "min_free_mb": 0},
            "api": {"token_file": str(self.token_file)},
            "sync": {"calls_per_minute": 1000},
        }
        if server is not None:
            self.give_token(DEFAULT_TOKEN)
            self.settings["api"]["base_url"] = server.base_url
        self.configure()

    def give_token(self, token: str) -> None:
        """Put a device token where the settings say it is."""
        self.token_file.write_text(f"{token}\n")
        self.token_file.chmod(0o600)

    def configure(self, **sections: Mapping[str, Any]) -> None:
        """Write the settings, these on top of what was set before."""
        for name, values in sections.items():
            self.settings[name] = {**self.settings.get(name, {}), **values}
        self.config_file.write_text(tomli_w.dumps(self.settings))

    def popen(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Start a command and do not wait for it."""
        command = [*self.program, "--config", self.config_file, *arguments]
        return subprocess.Popen(
            command, text=True, errors="replace", env=self.environment, cwd=self.folder, **options
        )

    def run(self, *arguments: str | Path, stdin: str = "") -> Run:
        """Run a command to its end."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with self.popen(*arguments, **pipes) as process:
            try:
                out, err = process.communicate(stdin, COMMAND_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert "Traceback" not in err, err
        return Run(process.returncode, out, err)

    def ok(self, *arguments: str | Path, stdin: str = "") -> Run:
        """Run a command that must succeed in silence."""
        run = self.run(*arguments, stdin=stdin)
        assert (run.code, run.err) == (0, ""), run
        return run

    def record(self, wav: Path, *arguments: str) -> list[Json]:
        """Record a WAV file and return the new rows."""
        return self.ok("record", "--input", wav, "--json", *arguments).rows

    def queue(self) -> list[Json]:
        """Return what ``queue list`` shows."""
        rows: list[Json] = self.ok("queue", "list", "--json").json
        return rows

    @contextlib.contextmanager
    def daemon(self) -> Iterator["Daemon"]:
        """Keep ``run`` going; a daemon that still runs at the end is killed."""
        with (self.folder / "daemon.log").open("a") as log, self.popen("run", stderr=log) as process:
            daemon = Daemon(process, self.state, Path(log.name))
            try:
                wait_for(daemon.answers)
                yield daemon
            finally:
                process.kill()
                end_deliverer(self.state)
        assert "Traceback" not in daemon.log()


def end_deliverer(state: Path) -> None:
    """Kill the deliverer that a killed ``run`` has left behind."""
    folder = StateDirectory(state, state)

    def ended() -> bool:
        """Whether none holds the lock; one that has just taken it may not have written yet who it is."""
        if not folder.is_locked(Process.DELIVERER):
            return True
        holder = holder_of(folder.lock_of(Process.DELIVERER))
        with contextlib.suppress(OSError):
            if holder is not None and b"deliverer" in Path(f"/proc/{holder.pid}/cmdline").read_bytes():
                os.kill(holder.pid, signal.SIGKILL)
        return False

    wait_for(ended)


@dataclass(frozen=True)
class Daemon:
    """A running ``recorder-agent run``."""

    process: subprocess.Popen[str]
    state: Path
    log_file: Path

    def answers(self) -> bool:
        """Whether it listens to commands."""
        assert self.process.poll() is None, self.log()
        with contextlib.suppress(NotRunning):
            return bool(self.status())
        return False

    def status(self) -> Json:
        """Return its status, asked for without a process of its own."""
        state = StateDirectory(self.state, self.state)
        recorder, deliverer = (
            status_document(ask(path, {"command": "status"}))
            for path in (state.socket, state.delivery_socket)
        )
        return dict(msgspec.to_builtins(merged(recorder, deliverer)))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code; fails after the 10 s that systemd gives."""
        self.process.send_signal(number)
        return self.process.wait(10)

    def log(self) -> str:
        """Return what it has logged."""
        return self.log_file.read_text()


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something is so; fails after ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(POLL_SECONDS)


def stored(server: SandboxServer, local_id: str) -> list[Path]:
    """Return the stored objects of all recordings that carry a local id, over all their media."""
    return [
        path
        for recording in server.state.recordings.by_id.values()
        if recording.metadata.get("client_recording_id") == local_id
        for path in sorted((server.objects / recording.id).glob("*"))
    ]


def calls(server: SandboxServer) -> list[tuple[str, int | None]]:
    """Return the steps of deliveries so far, in order: which call, and the status it was answered with."""
    named = []
    for line in server.requests():
        last = line["path"].rpartition("/")[2]
        if line["method"] == "PUT":
            named.append(("put", line["status"]))
        elif last in STEPS:
            named.append((STEPS[last], line["status"]))
    return named


def likeness(one: bytes, other: bytes, channels: int = 1) -> float:
    """Return the correlation of two pieces of 16-bit PCM, of their least similar channel (``ALIKE``)."""
    first, second = (np.frombuffer(pcm, "<i2").reshape(-1, channels).T.astype(float) for pcm in (one, other))
    return float(min(np.corrcoef(first[index], second[index])[0, 1] for index in range(channels)))


def _environment(folder: Path) -> dict[str, str]:
    """Return an environment of nothing but this folder; numpy is hidden, which a customer does not have."""
    hidden = folder / "hidden"
    hidden.mkdir(parents=True, exist_ok=True)
    runtime = folder / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    (hidden / "numpy.py").write_text("raise ImportError('not installed here')\n")
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(folder / "home"),
        "XDG_STATE_HOME": str(folder / "home" / "state"),
        "XDG_RUNTIME_DIR": str(runtime),
        "PYTHONPATH": os.pathsep.join(map(str, (hidden, Path(agent.__file__).parents[1]))),
    }


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SandboxServer]:
    """A sandbox with the default token bound."""
    with SandboxServer(tmp_path / "sandbox") as running:
        yield running


@pytest.fixture
def machine(tmp_path: Path, server: SandboxServer) -> Machine:
    """A machine that is set up to deliver to the sandbox."""
    return Machine(tmp_path / "machine", server)
