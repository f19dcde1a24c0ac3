"""A secret file taken from a medium: overwritten where it lies, then removed."""

import os
import secrets
from pathlib import Path

from agent.small_file import open_regular


def wipe(path: Path) -> None:
    """Overwrite a file with chance, durably, and remove it; OSError as the medium gives it.

    On FAT, which writes where the file is, nothing of it is left on the medium. Flash that moves blocks by itself may
    keep a copy that no interface shows.
    """
    descriptor = open_regular(path, os.O_RDWR)
    try:
        facts = os.fstat(descriptor)
        size = facts.st_size + -facts.st_size % facts.st_blksize  # of FAT: whole clusters
        for fill in (secrets.token_bytes(size), bytes(size)):
            os.lseek(descriptor, 0, os.SEEK_SET)
            left = memoryview(fill)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
