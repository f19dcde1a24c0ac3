"""Processor time of this host: a machine or a microphone that waits for it loses sound that no recorder could keep."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

SUITE, MACHINE = -5, -20
BEGUN_SECONDS = 2.0
"""QEMU has started the threads of its processors by then."""


def prefer(pid: int, niceness: int) -> None:
    """Put a process that leads a session before others; where it is not allowed, nothing changes.

    Kernels that group processes by session ("autogroup") count niceness only within one, so the session has it too.
    """
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
    _prefer_session(pid, niceness)


def nice(pid: int, niceness: int) -> None:
    """Give all threads of a process a niceness; where it is not allowed, or gone, nothing changes."""
    with contextlib.suppress(OSError):
        for task in _tasks(pid):
            os.setpriority(os.PRIO_PROCESS, task, niceness)


def hardware(pid: int) -> None:
    """Let a process that stands for hardware run whenever it has something to do, with all that it starts from now on.

    No program keeps a sound card waiting. Where it is not allowed, nothing changes.
    """
    with contextlib.suppress(OSError):
        for task in _tasks(pid):
            os.sched_setscheduler(task, os.SCHED_RR, os.sched_param(1))


def real_time(pid: int) -> None:
    """Let the main thread of a process that has just started run whenever it has something to do.

    Its other threads do not run in real time: they are put before others when they have begun.
    """
    prefer(pid, MACHINE)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(pid, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    later = threading.Timer(BEGUN_SECONDS, nice, (pid, MACHINE))
    later.daemon = True
    later.start()


@contextlib.contextmanager
def suite_preferred() -> Iterator[None]:
    """Put this process, which is the recordings API too, and its session before others for a while."""
    prefer(os.getpid(), SUITE)
    try:
        yield
    finally:
        _prefer_session(os.getpid(), 0)


def _tasks(pid: int) -> list[int]:
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]


def _prefer_session(pid: int, niceness: int) -> None:
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness), "ascii")
