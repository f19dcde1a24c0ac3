"""A machine with the recorder on it, and a recordings API on the host's loopback, which is the machine's as well."""

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from container import Container

from agent.sandbox.server import SandboxServer

PROJECT = Path(__file__).parents[3]
SOURCE = "/srv/recorder-agent"
VOICE = "/srv/voice.wav"
STATE = "/var/lib/recorder-agent"
CONFIG = "/etc/recorder-agent/config.toml"
UNITS = "/etc/systemd/system"
TOKEN = f"{STATE}/token/device-token"
UNIT = "recorder-agent.service"
DELIVERY = "recorder-agent-delivery.service"
TARGET = "recorder-agent.target"

Json = dict[str, Any]


class Recorder:
    """The recorder of a machine as a person at its keyboard sees it, and what its sandbox has."""

    def __init__(self, container: Container, sandbox: SandboxServer) -> None:
        self.container = container
        self.sandbox = sandbox

    def configure(self, **sections: str) -> None:
        """Write the settings: for each section its lines; the voice and the sandbox unless said otherwise."""
        lines = {"api": f'base_url = "{self.sandbox.base_url}"', "audio": f'input = "file:{VOICE}?loop"'}
        lines |= {"recording": "segment_seconds = 2", "sync": "calls_per_minute = 1000"} | sections
        self.container.write(CONFIG, "".join(f"[{name}]\n{text}\n" for name, text in lines.items()))

    def drop_in(self, name: str, *lines: str, unit: str = UNIT) -> None:
        """Change a service as ``systemctl edit`` does; no lines take the change back."""
        file = f"{UNITS}/{unit}.d/{name}.conf"
        if lines:
            self.container.write(file, "\n".join(("[Service]", *lines, "")))
        else:
            self.container.path(file).unlink(missing_ok=True)
        self.container.run("systemctl", "daemon-reload")

    def systemctl(
        self, verb: str, unit: str = TARGET, *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Start, stop or restart both services, or one unit, and wait until that is done."""
        ends = (
            (UNIT, DELIVERY) if verb == "stop" and unit == TARGET else ()
        )  # a target does not wait for their end
        return self.container.run("systemctl", verb, unit, *ends, check=check)

    def agent(self, *arguments: str, text: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of the agent as root."""
        return self.container.run("recorder-agent", *arguments, input=text, check=check)

    def answer(self, *arguments: str) -> Any:
        """Return what a command answers as JSON, whatever its exit code says."""
        return json.loads(self.agent(*arguments, "--json", check=False).stdout)

    def state(self) -> str:
        """Return the state that ``status`` tells."""
        return str(self.answer("status")["state"])

    def queue(self) -> dict[str, Json]:
        """Return the recordings by id, the open one included."""
        return {row["id"]: row for row in self.answer("queue", "list")}

    def finished(self) -> set[str]:
        """Return the ids of the recordings that are finished, delivered or not."""
        return {key for key, row in self.queue().items() if row["status"] != "recording"}

    def unit(self, unit: str = UNIT) -> dict[str, str]:
        """Return how systemd sees the recorder's service, or the other one."""
        return self.container.show(
            unit, "ActiveState", "SubState", "MainPID", "NRestarts", "Result", "StatusText"
        )

    def wait_state(self, state: str, seconds: float = 20) -> float:
        """Wait for a state, and return how long it took."""
        began = time.monotonic()
        self.container.wait_for(lambda: self.state() == state, seconds, f"state {state}")
        return time.monotonic() - began

    def wait_sound(self, seconds: float) -> float:
        """Wait until an open recording grows, and return how long it took."""
        began = time.monotonic()
        first: dict[str, int] = {}

        def grows() -> bool:
            sizes = self._open_sizes()
            return any(size > first.setdefault(name, size) for name, size in sizes.items())

        self.container.wait_for(grows, seconds, "growing recording")
        return time.monotonic() - began

    def wait_delivered(self, ids: set[str], seconds: float) -> float:
        """Wait until recordings are delivered, and return how long it took."""
        began = time.monotonic()
        self.container.wait_for(
            lambda: {row["status"] for key, row in self.queue().items() if key in ids} <= {"uploaded"},
            seconds,
            f"delivery of {len(ids)} recordings",
        )
        return time.monotonic() - began

    def copies(self) -> dict[str, int]:
        """Return how often the sandbox has each recording, by the recorder's own id."""
        counts: dict[str, int] = {}
        for recording in self.sandbox.state.snapshot()["recordings"]:
            if recording["status"] == "uploaded":
                own = recording["metadata"]["client_recording_id"]
                counts[own] = counts.get(own, 0) + 1
        return counts

    def kill(self, signal: str, unit: str = UNIT) -> None:
        """Send a signal to the main process of a service alone."""
        self.container.run("kill", f"-{signal}", self.unit(unit)["MainPID"])

    def wait_new_process(self, unit: str, before: str, seconds: float) -> None:
        """Wait until a service has another main process than before."""
        self.container.wait_for(
            lambda: self.unit(unit)["MainPID"] not in {before, "0"}, seconds, f"new process of {unit}"
        )

    def close(self) -> None:
        """End machine and sandbox, whatever state they are in."""
        self.container.destroy()
        self.sandbox.stop()

    def _open_sizes(self) -> dict[str, int]:
        sizes = {}
        for file in self.container.path(f"{STATE}/recording").glob("*.part"):
            try:
                sizes[file.name] = file.stat().st_size
            except FileNotFoundError:
                continue
        return sizes


OLDER = "010dcefeea07dcc28caeec7b7dd864711bbadb75"
"""The last version in git that has one service."""


def bring_older(container: Container, target: str = SOURCE) -> None:
    """Put the last version that has one service into a machine, in the place of the sources there."""
    container.run("rm", "-rf", target)
    archive = subprocess.run(
        ["git", "archive", OLDER], cwd=PROJECT, check=True, capture_output=True, timeout=60
    ).stdout
    container.path(target).mkdir(parents=True)
    container.run("tar", "--extract", "--no-same-owner", f"--directory={target}", input=archive)


def bring_sources(container: Container, target: str = SOURCE, version: str = "") -> None:
    """Put the project into a machine as a clone has it, without what git ignores; under another version number."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=PROJECT, check=True, capture_output=True, timeout=60).stdout
    for name in filter(None, names.decode().split("\0")):
        copy = container.path(f"{target}/{name}")
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (PROJECT / name).is_file():
            shutil.copy2(PROJECT / name, copy)
    container.run("chown", "-R", "root:root", target)
    for name, key in (("pyproject.toml", "version"), ("agent/__init__.py", "__version__")) if version else ():
        file = container.path(f"{target}/{name}")
        lines = file.read_text("utf-8").splitlines(keepends=True)
        changed = [f'{key} = "{version}"\n' if line.startswith(f"{key} = ") else line for line in lines]
        file.write_text("".join(changed), "utf-8")
