"""One process of a kind per state directory: its lock (flock), and what the lock file says about its holder.

The kernel gives a lock back when its process ends, however it ends; whoever holds it runs. The file's text is for
others: which process it is, and in which folder its socket and its status lie.
"""

import contextlib
import errno
import fcntl
import os
import pwd
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Self

import msgspec
from msgspec import Meta

from agent.disk import set_aside
from agent.errors import AgentError
from agent.hints import settle, stop
from agent.process.systemd import is_service
from agent.small_file import is_regular, load_or_none
from agent.text import valid

TRIES = 10
PAUSE_SECONDS = 0.02
LARGEST = 4096
"""Bytes of a lock file that are read."""


class Holder(msgspec.Struct, omit_defaults=True):
    """What a lock file says; true only while the lock is held."""

    pid: Annotated[int, Meta(ge=1, le=1 << 30)]
    what: Annotated[str, Meta(max_length=200)] = ""
    """The command, for a person."""
    runtime: Annotated[str, Meta(max_length=1000)] = ""
    """The folder of its socket and status file; empty for a command that has none."""
    supervised: bool = False
    """Started by ``recorder-agent run``, which may end it."""
    orderly: bool = False
    """It has ended because it was told to."""


HOLDER = msgspec.json.Decoder(Holder)


class NoRight(AgentError):  # noqa: N818 - a state, which some can do something about
    """The state directory is somebody else's."""


class LockHeld(AgentError):  # noqa: N818 - a state, not a malfunction
    """Another process holds the lock."""


class StateLock:
    """The lock of one kind of process; ``runtime`` and ``supervised`` are written into its file."""

    def __init__(
        self,
        path: Path,
        sleep: Callable[[float], None] = time.sleep,
        *,
        runtime: Path | None = None,
        supervised: bool = False,
    ) -> None:
        self._path = path
        self._sleep = sleep
        self._runtime = runtime
        self._supervised = supervised
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            LockHeld: another process has it.
            AgentError: the file cannot be used.
        """
        try:
            descriptor = self._opened()
        except OSError as error:
            raise no_right(self._path.parent, error) from error
        try:
            self._take(descriptor)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise LockHeld(
                    f"another recorder-agent already works on {self._path.parent}",
                    f"{stop()} first, or name another storage.directory",
                ) from None
            raise no_right(self._path.parent, error) from error
        self._descriptor = descriptor
        self._write(orderly=False)

    def release(self, *, orderly: bool = False) -> None:
        """Give the lock back; harmless when it is not held. ``orderly``: it was told to end."""
        if self._descriptor is not None:
            if orderly:
                self._write(orderly=True)
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def is_in_place(self) -> bool:
        """Whether it is held, and on the file that its path names: another file system may be mounted there now."""
        if self._descriptor is None:
            return False
        try:
            there, ours = self._path.stat(), os.fstat(self._descriptor)
        except OSError:
            return True
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _opened(self) -> int:
        """Return a descriptor of the file. What is none is set aside: nobody can hold a lock by it.

        A file that cannot be written can be locked all the same; it only does not tell who holds it.
        """
        flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        if os.path.lexists(self._path) and not is_regular(self._path):
            set_aside(self._path)
        try:
            return os.open(self._path, flags | os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError:
            with contextlib.suppress(OSError):
                self._path.chmod(0o600)  # a mode that its owner can give back
                return os.open(self._path, flags | os.O_RDWR)
            return os.open(self._path, flags | os.O_RDONLY)

    def _take(self, descriptor: int) -> None:
        for _ in range(TRIES - 1):  # ``is_held`` of another process holds it for a moment
            with contextlib.suppress(BlockingIOError):
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sleep(PAUSE_SECONDS)
        return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _write(self, *, orderly: bool) -> None:
        """Say who holds it; a full card costs only that."""
        if self._descriptor is None:
            return
        what = " ".join(["recorder-agent", *(word for word in sys.argv[1:] if not word.startswith("-"))])
        runtime = str(self._runtime) if self._runtime is not None else ""
        holder = Holder(os.getpid(), valid(what[:100]), valid(runtime), self._supervised, orderly)
        with contextlib.suppress(OSError):
            data = msgspec.json.encode(holder)
            os.pwrite(self._descriptor, data.ljust(LARGEST // 4), 0)
            os.ftruncate(self._descriptor, max(len(data), LARGEST // 4))

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _readable(path: Path) -> int:
    """Return a descriptor to look with; a mode that its owner can give back is given back."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(path, flags)
    except PermissionError:
        with contextlib.suppress(OSError):
            path.chmod(0o600)
        return os.open(path, flags)


def is_held(path: Path) -> bool:
    """Return whether a process holds a lock now; AgentError without the right to look. What is no file is nobody's."""
    if os.path.lexists(path) and not is_regular(path):
        return False
    try:
        descriptor = _readable(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise no_right(path.parent, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder_of(path: Path) -> Holder | None:
    """Return what a lock file says; None when there is nothing readable in it."""
    return load_or_none(path, HOLDER, LARGEST)


def no_right(folder: Path, error: OSError) -> AgentError:
    """Return why a state directory cannot be used, for a person; of a service its owner is told what opens it."""
    if is_service() and error.errno == errno.EROFS:
        return NoRight(f"the service may not write to {folder}", settle())
    if is_service() and isinstance(error, PermissionError):
        account = account_name(os.geteuid())
        group = os.getegid() if account.isdecimal() else ""  # of a name the colon alone means its own
        give = f"`sudo chown -R {account}:{group} {shlex.quote(str(folder))}`"
        return NoRight(f"the service's account {account} has no right to use {folder}", give)
    if isinstance(error, PermissionError):
        return NoRight(f"no right to use the state directory {folder}", "run this as its owner, or with sudo")
    return AgentError(
        f"the state directory {folder} cannot be used ({error.strerror})",
        "see whether its disk is there and sound, or name another storage.directory",
    )


def account_name(uid: int) -> str:
    """Return the name of an account; of one without a name, such as a container's, its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def named(path: Path) -> str:
    """Return who holds a lock, for a person."""
    holder = holder_of(path)
    return "somebody who says nothing" if holder is None else f"{holder.what} (process {holder.pid})"
