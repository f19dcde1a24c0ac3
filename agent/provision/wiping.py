"""A secret file taken from a medium: overwritten where it lies, then removed."""

import os
import secrets
from pathlib import Path

from agent.disk import Disk
from agent.small_file import open_file


def wipe(path: Path, disk: Disk) -> None:
    """Overwrite a file with chance, durably, and remove it; OSError as the medium gives it.

    On FAT, which writes where the file is, nothing of it is left on the medium. Flash that moves blocks by itself may
    keep a copy that no interface shows.
    """
    with open_file(path, os.O_RDWR) as file:
        facts = os.fstat(file.fileno())
        size = facts.st_size + -facts.st_size % facts.st_blksize  # of FAT: whole clusters
        for fill in (secrets.token_bytes(size), bytes(size)):
            disk.write_at(file, 0, fill, "wipe.write")
            disk.sync(file, "wipe.sync")
    disk.unlink(path, "wipe.unlink")
    disk.sync_folder(path.parent, "wipe.sync_folder")
