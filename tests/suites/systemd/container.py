"""A machine to install on: systemd as PID 1 in a container of its own.

Each is an overlay on a tree of Debian, and is gone afterwards. It shares the host's network: a sandbox on the host's
loopback is on its loopback too, and apt and pip reach what they reach on the host. All that waits has a time limit,
and a container dies with its test process.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeVar

import registries
from debian import HOME

T = TypeVar("T")

BOOT_SECONDS = 60
COMMAND_SECONDS = 60
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}


_DIES_WITH_US = (
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--fork",
    "--kill-child",
    "--pid",
    "--mount-proc",
)
"""The container's processes share a PID namespace of their own, which ends when this process does, however it does."""

_DEPTH = 3
"""So many numbers a process of a container has: the host's, that of the namespace around it, and its own."""


class RefusedError(Exception):
    """A command in a container ended with another exit code than 0, or something did not come in time."""


class Container:
    """One container: not booted until ``boot``; as a context manager it is gone in the end, whatever happened.

    ``layers`` are what it stands on, the lowest first: the base tree, and what ``freeze`` of others has left.
    ``root`` is its file system seen from the host: files may be read and written there while it runs.
    """

    def __init__(self, name: str, layers: Sequence[Path]) -> None:
        self.name = f"ra-{os.getpid()}-{name}"
        self._layers = layers
        self._folder = HOME / self.name
        self.root = self._folder / "root"
        self._process: subprocess.Popen[bytes] | None = None
        self._init = 0
        for part in ("root", "upper", "work"):
            (self._folder / part).mkdir(parents=True)
        lower = ":".join(map(str, reversed(layers)))
        layered = f"lowerdir={lower},upperdir={self._folder}/upper,workdir={self._folder}/work"
        _call("mount", "-t", "overlay", "overlay", "-o", layered, str(self.root))

    def boot(self) -> Self:
        """Boot and wait until systemd has started what it starts."""
        self.write("/etc/hostname", f"{self.name}\n")
        self._bring_pip()
        binds = [f"--bind-ro={path}" for path in registries.pip_paths() if path.is_dir()]
        with (self._folder / "console").open("ab") as console:
            self._process = subprocess.Popen(
                [*_DIES_WITH_US, "systemd-nspawn", "--quiet", "--boot", "--register=no",
                 "--keep-unit", "--link-journal=no", "--timezone=off", "--resolv-conf=copy-host",
                 "--system-call-filter=adjtimex clock_adjtime",  # a machine of its own may ask for its clock
                 "--capability=CAP_NET_ADMIN",  # and give a service a network of its own, which is none
                 f"--machine={self.name}", f"--directory={self.root}", *binds],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
            )  # fmt: skip
        process = self._process
        self._init = self.wait_for(lambda: _init_of(process.pid), BOOT_SECONDS, "PID 1")
        self.wait_for(self._is_up, BOOT_SECONDS, "the end of the boot")
        return self

    def run(
        self,
        *command: str,
        input: str | bytes = "",  # noqa: A002 - as subprocess calls it
        timeout: float = COMMAND_SECONDS,
        check: bool = True,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside as root, output captured; RefusedError unless it ended with 0 (or ``check`` is off)."""
        environment = _ENVIRONMENT | (env or {})
        data = input if isinstance(input, bytes) else input.encode()
        try:
            done = subprocess.run(
                self.words(*command),
                input=data, capture_output=True, timeout=timeout, env=environment, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            seen = (error.stdout or b"") + (error.stderr or b"")
            raise RefusedError(
                f"{command} did not end within {timeout} s: {seen.decode(errors='replace')}"
            ) from None
        result = subprocess.CompletedProcess(
            command,
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )
        if check and result.returncode:
            raise RefusedError(f"{command} ended with {result.returncode}:\n{result.stdout}{result.stderr}")
        return result

    def words(self, *command: str) -> list[str]:
        """Return what runs a command inside, as root and with this process's environment."""
        spaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
        return ["nsenter", f"--target={self._init}", *spaces, "--", *command]

    def shell(self, script: str, timeout: float = COMMAND_SECONDS) -> str:
        """Run a bash script inside and return what it printed; RefusedError unless it ended with 0."""
        return self.run("bash", "-euo", "pipefail", "-c", script, timeout=timeout).stdout

    def put(self, source: Path, target: str) -> None:
        """Copy a file or folder of the host to an absolute path inside, owned by root."""
        inside = self.path(target)
        inside.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, inside, dirs_exist_ok=True, symlinks=True)
        else:
            shutil.copy2(source, inside)
        _call("chown", "-hR", "0:0", str(inside))

    def write(self, target: str, text: str, mode: int = 0o644) -> None:
        """Write a file of root's inside."""
        path = self.path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        path.chmod(mode)

    def path(self, inside: str) -> Path:
        """Return where an absolute path inside lies on the host (symbolic links in it are the host's)."""
        return self.root / inside.lstrip("/")

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Return properties of a unit, as ``systemctl show`` tells them."""
        lines = self.run("systemctl", "show", unit, f"--property={','.join(properties)}").stdout.splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def journal(self, unit: str = "recorder-agent*", *options: str) -> str:
        """Return the journal of units (a pattern; of both services), message by message as a person sees it."""
        return self.run("journalctl", "--no-pager", "--output=short-iso", "--unit", unit, *options).stdout

    def wait_for(self, condition: Callable[[], T], seconds: float, what: str) -> T:
        """Return the first true answer; RefusedError when there is none within the time."""
        return wait_for(condition, seconds, f"{what} in {self.name}")

    def reboot(self) -> Self:
        """Shut down in order, as a person would by ``reboot``, and boot again."""
        self.run("systemctl", "reboot", check=False)
        self._gone(BOOT_SECONDS)
        return self.boot()

    def power_cut(self) -> Self:
        """Kill it without a word, and boot again."""
        self._kill()
        return self.boot()

    def stop(self) -> None:
        """Shut down in order; kill it when that takes too long."""
        if self._process is None:
            return
        with suppress(RefusedError):
            self.run("systemctl", "poweroff", check=False)
        try:
            self._gone(BOOT_SECONDS)
        except RefusedError:
            self._kill()

    def freeze(self) -> Path:
        """Stop it for good, and return what it has changed as a layer for other containers."""
        self.stop()
        _call("umount", str(self.root))
        return self._folder / "upper"

    def destroy(self) -> None:
        """Kill it, and remove all that is left of it."""
        self._kill()
        subprocess.run(["umount", "--lazy", str(self.root)], check=False, capture_output=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.destroy()

    def _bring_pip(self) -> None:
        self.write("/etc/pip.conf", registries.pip_file())
        for path in registries.pip_paths():
            if path.is_file():
                self.path(str(path)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, self.path(str(path)))

    def _is_up(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RefusedError(
                f"{self.name} ended while booting:\n{(self._folder / 'console').read_text()[-2000:]}"
            )
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in {"running", "degraded"}

    def _gone(self, seconds: float) -> None:
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise RefusedError(f"{self.name} did not shut down within {seconds} s") from None
        self._process = None

    def _kill(self) -> None:
        if self._process is None:
            return
        for process in (self._init, self._process.pid):
            with suppress(ProcessLookupError):
                if process:
                    os.kill(process, signal.SIGKILL)
        self._process.wait(BOOT_SECONDS)
        self._process = None


def wait_for(condition: Callable[[], T], seconds: float, what: str, pause: float = 0.1) -> T:
    """Return the first true answer; RefusedError when there is none within the time."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := condition():
            return answer
        if time.monotonic() >= deadline:
            raise RefusedError(f"no {what} within {seconds:.0f} s")
        time.sleep(pause)


def _call(*command: str) -> None:
    subprocess.run(command, check=True, timeout=COMMAND_SECONDS, stdin=subprocess.DEVNULL)


def _init_of(process: int) -> int:
    """Return the host's number of PID 1 of the container that a process runs; 0 while there is none."""
    waiting = [process]
    while waiting:
        one = waiting.pop()
        with suppress(OSError):
            status = Path(f"/proc/{one}/status").read_text("utf-8")
            numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
            if len(numbers) == _DEPTH and numbers[-1] == "1":
                return one
            waiting += map(int, Path(f"/proc/{one}/task/{one}/children").read_text("utf-8").split())
    return 0
