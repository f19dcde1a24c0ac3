"""The owner's own command, told once when something bad has lasted, and once when it is over."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import structlog

from agent.status.table import TABLE, Condition

log = structlog.get_logger()

LASTING_SECONDS = 60.0
COMMAND_SECONDS = 30.0
"""A command that takes longer is ended."""

_ORDER = [row.condition for row in TABLE]
BAD = frozenset(_ORDER[: _ORDER.index(Condition.NO_CREDENTIAL)]) - {Condition.MUTED}
"""The conditions above "credential missing or refused"; muted is a person's own wish."""


class FaultHook:
    """Runs ``hooks.on_fault`` with ``begin`` or ``end`` and the condition as its arguments.

    ``run`` is handed in for tests; the command gets no shell, and no secret.
    """

    def __init__(
        self, command: str, monotonic: Callable[[], float], run: Callable[[list[str]], None] | None = None
    ) -> None:
        self._command = command
        self._monotonic = monotonic
        self._run = run or run_command
        self._bad: Condition | None = None
        self._since = 0.0
        self._told: Condition | None = None

    def look(self, condition: Condition) -> None:
        """Take note of the present condition; to be called every few seconds."""
        if not self._command:
            return
        bad = condition if condition in BAD else None
        if bad != self._bad:
            self._bad, self._since = bad, self._monotonic()
        if bad is None:
            if self._told is not None:
                self._run([self._command, "end", self._told.value])
                self._told = None
        elif self._told is None and self._monotonic() - self._since >= LASTING_SECONDS:
            self._told = bad
            self._run([self._command, "begin", bad.value])


def run_command(words: list[str]) -> None:
    """Run the owner's command, and say how it ended; it never stops the daemon."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    try:
        ended = subprocess.run(
            words, env=environment, timeout=COMMAND_SECONDS, capture_output=True, check=False, cwd=Path("/")
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("the owner's command failed", action="hook_failed", command=words[0], error=error)
        return
    log.info("the owner's command was run", action="hook_run", command=words, exit_code=ended.returncode)
