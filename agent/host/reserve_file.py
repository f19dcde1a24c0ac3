"""A file that is given up when the disk is full, so that what must still be written can be."""

import contextlib
import os
from pathlib import Path

from agent.disk import Disk
from agent.log import get_logger

log = get_logger(__name__)

FILE = "ballast"
BYTES = 1_000_000


class ReserveFile:
    """Holds about a megabyte of the disk for the index and the gap log; both steps may be repeated at any time."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._path = folder / FILE
        self._disk = disk

    @property
    def size(self) -> int:
        """How many bytes it holds."""
        return BYTES

    def allocate(self) -> None:
        """Occupy the room, where the disk allows it; sparse room would be none."""
        if self._path.exists():
            return
        temporary = self._path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, BYTES)
            self._disk.rename(temporary, self._path, "ballast.rename")
        except OSError:
            with contextlib.suppress(OSError):
                self._disk.unlink(temporary, "ballast.unlink_temporary")

    def release_reserve(self) -> None:
        """Free the room; harmless when it is free already, or when the disk refuses even that."""
        if not self._path.exists():
            return
        try:
            self._disk.unlink(self._path, "ballast.unlink")
        except OSError as error:
            log.error("the reserve file cannot be released", action="ballast_failed", error=error)
            return
        log.warning(
            "the disk is full: the reserve file was released for the index and the gap log",
            action="ballast_used",
        )
