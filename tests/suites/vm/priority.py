"""Processor time of this host: a machine or a microphone that waits for it loses sound that no recorder could keep."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

SUITE, MACHINE = -5, -20


def prefer(pid: int, niceness: int) -> None:
    """Put a process that leads a session before others; where it is not allowed, nothing changes.

    Kernels that group processes by session ("autogroup") count niceness only within one, so the session has it too.
    """
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
    _prefer_session(pid, niceness)


def real_time(pid: int) -> None:
    """Let the main thread of a process run whenever it has something to do; its other threads are only preferred."""
    prefer(pid, MACHINE)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(pid, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


@contextlib.contextmanager
def suite_preferred() -> Iterator[None]:
    """Put this process, which is the recordings API too, and its session before others for a while."""
    prefer(os.getpid(), SUITE)
    try:
        yield
    finally:
        _prefer_session(os.getpid(), 0)


def _prefer_session(pid: int, niceness: int) -> None:
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness), "ascii")
