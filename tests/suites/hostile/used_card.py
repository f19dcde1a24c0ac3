"""A state directory as the two real processes leave it: delivered, waiting and torn recordings, and every small file.

Made once; a copy of it is what each case begins with. Where root runs the tests the processes belong to nobody, for
whom a mode means something.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance import Machine, Run, wait_for
from connecting import connected
from grammar import Cell
from oddities import make_mutable
from server import Hostile, hostile_server
from speech import speech, write_wav

from agent.process.state_directory import StateDirectory

ENTRY = Path(__file__).with_name("entry.py")
NOBODY = pwd.getpwnam("nobody")
RATE = 16_000
WAITING, DELIVERED = 3, 2
TORN_BYTES = 2000


class Device:
    """A machine in a folder that nobody's processes may use."""

    def __init__(self, folder: Path, hostile: Hostile) -> None:
        folder.mkdir(exist_ok=True)
        self.machine = machine = Machine(folder)
        self.folder = folder
        machine.give_token("dtok_hostile")
        loop = write_wav(folder / "loop.wav", RATE, 1, speech(RATE, 1, 20 * RATE))
        machine.configure(
            api={"base_url": f"{hostile.url}/v1"},
            audio={"input": f"file:{loop}?loop"},
            recording={"segment_seconds": 2},
            sync={"daily_data_limit_mb": 100_000},
            log={"format": "json"},
        )
        # As systemd has it: a service whose state cannot be used tries again.
        machine.environment |= {"STATE_DIRECTORY": str(machine.state), "NOTIFY_SOCKET": "@nobody-listens"}
        self.state = StateDirectory(machine.state, machine.state)
        self.own()

    def own(self) -> None:
        """Let everything belong to whom the processes belong to."""
        if os.geteuid() == 0:
            subprocess.run(["chown", "-Rh", f"{NOBODY.pw_uid}:{NOBODY.pw_gid}", self.folder], check=True)

    def start(self, process: str) -> subprocess.Popen[bytes]:
        """Start one of the two processes; its log goes to ``<process>.log``."""
        arguments = ["--config", str(self.machine.config_file), "run", "--only", process]
        command = [*_as_nobody(), sys.executable, "-P", str(ENTRY), "--ntp", "--", *arguments]
        with (self.folder / f"{process}.log").open("ab") as log:
            return subprocess.Popen(command, env=self.machine.environment, cwd=self.folder, stderr=log)

    def run(self, *arguments: str) -> Run:
        """Run a command of the product to its end."""
        command = [sys.executable, "-P", "-c", "from agent.cli import main; main()", "--config"]
        done = subprocess.run(
            [*_as_nobody(), *command, str(self.machine.config_file), *arguments],
            env={key: text for key, text in self.machine.environment.items() if key != "NOTIFY_SOCKET"},
            cwd=self.folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    def log(self, process: str) -> str:
        """Return what a process has logged."""
        return (self.folder / f"{process}.log").read_text(errors="replace")


def _as_nobody() -> list[str]:
    """Return what makes a command of root's one of nobody's."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups"]


@contextlib.contextmanager
def workshop() -> Iterator[Path]:
    """Give a folder that everybody may enter, and remove it with all that is in it."""
    folder = Path(tempfile.mkdtemp(prefix="hostile-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        make_mutable(folder)
        shutil.rmtree(folder, ignore_errors=True)


def used(folder: Path) -> Device:
    """Return a device with delivered, waiting and torn recordings and every small file, none of it running."""
    with hostile_server() as hostile:
        device = Device(folder, hostile)
        recorder, deliverer = device.start("recorder"), device.start("deliverer")
        try:
            hostile.poison(Cell("heartbeat", "field:commands.grant_token", "null"))
            wait_for(lambda: len(hostile.delivered()) >= DELIVERED and hostile.poisoned > 0, 120)
            with connected(device.state.socket) as client:
                client.sendall(b'{"command": "mark", "text": "here"}\n')
                client.recv(4096)
            deliverer.kill()
            deliverer.wait()
            outbox = device.machine.state / "outbox"
            wait_for(lambda: len(list(outbox.glob("*.json"))) >= WAITING, 120)
            recording = device.machine.state / "recording"
            wait_for(lambda: any(path.stat().st_size > TORN_BYTES for path in recording.glob("*.part")))
        finally:
            for process in (recorder, deliverer):
                process.send_signal(signal.SIGKILL)
                process.wait()
    return device


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that the processes of others may enter."""
    with workshop() as folder:
        yield folder


@pytest.fixture(scope="module")
def template(place: Path) -> Device:
    """A state directory that has been in use."""
    return used(place / "template")
