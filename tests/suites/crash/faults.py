"""What happens at a durable step: nothing, the end of the process, or a disk that refuses."""

import errno
import os
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clocks import SimulatedClock
from event_log import Diary

KILL, ENOSPC, EIO, LONG, DELETED, NONE = "kill", "ENOSPC", "EIO", "ENOSPC for 30 s", "index deleted", "none"
KINDS = (KILL, ENOSPC, EIO, LONG)
LONG_SECONDS = 30.0
_SQLITE = {
    errno.ENOSPC: (sqlite3.SQLITE_FULL, "database or disk is full"),
    errno.EIO: (sqlite3.SQLITE_IOERR, "disk I/O error"),
}


@dataclass(frozen=True)
class Fault:
    """One fault: its kind, and at which step, counted from 0."""

    kind: str = NONE
    at: int = -1


class Observer:
    """Notes each step in the diary, and strikes at one of them."""

    def __init__(self, fault: Fault, diary: Diary, clock: SimulatedClock, state: Path) -> None:
        self._fault = fault
        self._diary = diary
        self._clock = clock
        self._state = state
        self._count = 0
        self._until = 0.0

    def __call__(self, step: str) -> None:
        """Note a step of the file layer or the index."""
        self.pass_by(step)
        if self._clock.elapsed < self._until:
            _refuse(errno.ENOSPC, step)

    def pass_by(self, step: str) -> None:
        """Note a step that no disk can refuse (a call of the API) too."""
        self._diary.note("step", step, elapsed=self._clock.elapsed)
        at, self._count = self._count, self._count + 1
        if at == self._fault.at:
            self._strike(step)

    def _strike(self, step: str) -> None:
        self._diary.note("struck", step)
        kind, network = self._fault.kind, step.startswith(("call.", "answer.", "progress."))
        if kind == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind == DELETED:
            (self._state / "outbox.db").unlink(missing_ok=True)
        elif kind == LONG:
            self._until = self._clock.elapsed + LONG_SECONDS
        elif not network:
            _refuse(errno.ENOSPC if kind == ENOSPC else errno.EIO, step)


def _refuse(number: int, step: str) -> None:
    if is_commit(step):
        code, text = _SQLITE[number]
        error = sqlite3.OperationalError(text)
        error.sqlite_errorcode = code
        raise error
    raise OSError(number, os.strerror(number))


def is_commit(step: str) -> bool:
    """Whether SQLite takes the step, so that its errors are SQLite's."""
    last = step.rpartition(".")[2]
    return last.startswith("commit") or step in {
        "index.open",
        "index.migrate",
        "index.close",
        "index.begin_anew",
    }


Strike = Callable[[str], None]
