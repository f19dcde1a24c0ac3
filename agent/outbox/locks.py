"""Who works on a finished recording: the lock of its audio file, taken without waiting and held to the end.

Whoever uploads, moves, prunes or drops a recording takes it first. Taken, the file may have been replaced or removed
meanwhile: what is locked must still be what the path names. A thread that holds it may take it again.
"""

import contextlib
import errno
import fcntl
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

_held: dict[tuple[int, int], int] = {}
"""Which thread of this process holds which file, by device and inode."""
_guard = threading.Lock()


@contextlib.contextmanager
def claimed(audio: Path) -> Iterator[bool]:
    """Hold the lock of an audio file; gives False when somebody else does, or when the path names another file now.

    Raises:
        OSError: it is not there, or is no regular file.
    """
    descriptor = os.open(audio, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(audio))
        key, me = (status.st_dev, status.st_ino), threading.get_ident()
        with _guard:
            again = _held.get(key) == me
        if again:
            yield True
            return
        if not _take(descriptor) or not _is_at(audio, key):
            yield False
            return
        with _guard:
            _held[key] = me
        try:
            yield True
        finally:
            with _guard:
                _held.pop(key, None)
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, key: tuple[int, int]) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == key
