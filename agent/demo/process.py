"""The commands of the agent as the demo starts them: processes of their own, with their output in files."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.errors import AgentError

STOP_SECONDS = 12.0
"""The recorder itself takes at most 10 s."""
POLL_SECONDS = 0.02
_LOOPBACK = "127.0.0.1,localhost"
_PREFIX = "recorder-agent: "


def command_line(*arguments: str | Path) -> list[str]:
    """Return what runs the agent in this interpreter, without importing from the folder it is called in."""
    return [sys.executable, "-P", "-c", "from agent.cli import main; main()", *map(str, arguments)]


def environment(runtime: Path) -> dict[str, str]:
    """Return the environment: a runtime folder of the demo's own, and no proxy on the way to this machine."""
    own = {"RUNTIME_DIRECTORY": str(runtime)}
    for name in ("NO_PROXY", "no_proxy"):
        own[name] = ",".join(filter(None, (os.environ.get(name), _LOOPBACK)))
    return os.environ | own


class Process:
    """A command that goes on beside the demo; ended, the hard way at last, with the ``with`` block."""

    def __init__(self, name: str, arguments: list[str], log: Path, environ: dict[str, str]) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                arguments, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self._read = log.open(encoding="utf-8", errors="replace")
        self._begun = ""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def new_lines(self) -> list[str]:
        """Return the whole lines it has written since they were last asked for."""
        *whole, self._begun = (self._begun + self._read.read()).split("\n")
        return whole

    def wait_until(
        self,
        ready: Callable[[], bool],
        limit: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Return when it is ready.

        Raises:
            AgentError: it ended, with its own last words, or ``limit`` seconds have passed.
        """
        release_reserve = monotonic() + limit
        while not ready():
            self.check()
            if monotonic() > release_reserve:
                raise AgentError(f"the {self.name} did not start within {limit:g} s", f"see {self.log}")
            sleep(POLL_SECONDS)

    def check(self, timeout: float = 0.0) -> None:
        """Raise AgentError with its own reason when it has ended, or does within ``timeout`` seconds."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return
        words = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        serious = (
            [line for line in words if " ERROR " in line] or words or [f"it gave no reason, only code {code}"]
        )
        reason = serious[-1].removeprefix(_PREFIX).rstrip(".")
        raise AgentError(f"the {self.name} has ended: {reason}", f"its log is {self.log}")

    def stop(self) -> None:
        """End it and wait for that."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(OSError):
            self._read.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
