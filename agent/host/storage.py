"""How much room the state directory's file system has."""

import os
from pathlib import Path
from typing import NamedTuple

from agent.errors import AgentError
from agent.host.disk_fault import disk_fault

MEGABYTE = 1_000_000


class DiskUsage(NamedTuple):
    """Bytes of a file system as an ordinary user may use them."""

    free: int
    total: int

    @property
    def free_mb(self) -> int:
        """Free megabytes (10^6 bytes)."""
        return self.free // MEGABYTE


def disk_usage(folder: Path) -> DiskUsage:
    """Return the room of the file system a folder is on; OSError as the kernel gives it."""
    status = os.statvfs(folder)
    return DiskUsage(status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize)


def space_problem(folder: Path, min_free_mb: int) -> AgentError | None:
    """Return an error when less than ``min_free_mb`` is free in a folder, else None."""
    try:
        free = disk_usage(folder).free_mb
    except OSError as error:
        return disk_fault(error, folder).problem
    if free >= min_free_mb:
        return None
    return AgentError(
        f"the disk of {folder} is full: {free} MB are free and storage.min_free_mb asks for {min_free_mb}",
        "deliver or delete recordings, or use a larger card",
    )
