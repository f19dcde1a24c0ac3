"""A folder somebody named, into which files are written with that person's rights and for nobody else.

A command that root runs for a person (sudo) becomes the owner of the recordings before it reads them, and that owner
may not write into the person's home. So a process of the person's own is split off first; it receives the open files
and creates the copies. Names are opened in the folder's descriptor, links are never followed, and what stands there
already is never overwritten.
"""

import contextlib
import errno
import os
import pwd
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import msgspec

from agent.errors import AgentError

_CHUNK = 1 << 18
_LONGEST_MESSAGE = 4096
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_CREATE, _REPLACE = b"c", b"r"


class _Reply(msgspec.Struct):
    """What the receiving process answers to one file."""

    error: str = ""
    hint: str = ""


_REPLY = msgspec.json.Decoder(_Reply)


class TargetFolder:
    """Copies of files in one folder: mode 0600, the folder 0700 when it is made here.

    Raises:
        AgentError: the folder cannot be made or written, or another file of that name is there.
    """

    def __init__(self, path: Path, environ: Mapping[str, str] = os.environ) -> None:
        self.path = path
        self._copy: Callable[[str, int, bool], None]
        if os.geteuid() == 0:
            self._copy = self._split_off(_caller(environ))
        else:
            folder = _opened(path)
            self._close: Callable[[], None] = lambda: os.close(folder)
            self._copy = lambda name, source, replace: _copy(path, folder, name, source, replace=replace)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def copy(self, name: str, source: int) -> None:
        """Copy an open file from its start to a new file of that name; one with the very same bytes may be there."""
        self._copy(name, source, False)

    def replace(self, name: str, data: bytes) -> None:
        """Write bytes to a file of that name, in the place of what is there (a link itself, not its target)."""
        source = os.memfd_create("copy", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(source), "wb") as file:
                file.write(data)
            self._copy(name, source, True)
        finally:
            os.close(source)

    def _split_off(self, caller: tuple[int, int, list[int]]) -> Callable[[str, int, bool], None]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                ours.close()
                _receive(theirs, self.path, caller)
                code = 0
            finally:
                os._exit(code)  # nothing of the parent's is to be ended twice
        theirs.close()

        def close() -> None:
            ours.close()
            os.waitpid(child, 0)

        self._close = close
        try:
            _check_reply(ours, self.path)  # whether the folder could be opened
        except AgentError:
            close()
            raise

        def copy(name: str, source: int, replace: bool) -> None:
            message = (_REPLACE if replace else _CREATE) + os.fsencode(name)
            try:
                socket.send_fds(ours, [message], [source])
            except OSError as error:
                raise _failed(self.path, error) from error
            _check_reply(ours, self.path)

        return copy


def _caller(environ: Mapping[str, str]) -> tuple[int, int, list[int]]:
    """Return user, group and groups of whoever called sudo; root's own without it."""
    try:
        entry = pwd.getpwuid(int(environ.get("SUDO_UID", "0")))
    except (KeyError, ValueError, OverflowError):
        return 0, 0, os.getgroups()
    return entry.pw_uid, entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)


def _receive(connection: socket.socket, path: Path, caller: tuple[int, int, list[int]]) -> None:
    """Work as the caller until the other side closes: one message a file, one reply each."""
    uid, gid, groups = caller
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    folder = -1
    with contextlib.suppress(ConnectionError):
        error = hint = ""
        try:
            folder = _opened(path)
        except AgentError as problem:
            error, hint = problem.message, problem.hint
        connection.send(msgspec.json.encode(_Reply(error, hint)))
        while folder >= 0:
            message, descriptors, _flags, _address = socket.recv_fds(connection, _LONGEST_MESSAGE, 1)
            if not descriptors:
                return
            error = hint = ""
            try:
                replace = message[:1] == _REPLACE
                _copy(path, folder, os.fsdecode(message[1:]), descriptors[0], replace=replace)
            except AgentError as problem:
                error, hint = problem.message, problem.hint
            os.close(descriptors[0])
            connection.send(msgspec.json.encode(_Reply(error, hint)))


def _check_reply(connection: socket.socket, path: Path) -> None:
    try:
        reply = _REPLY.decode(connection.recv(_LONGEST_MESSAGE))
    except (OSError, msgspec.DecodeError) as error:
        raise AgentError(
            f"the process that writes to {path} has died", "look into the system's log, and try again"
        ) from error
    if reply.error:
        raise AgentError(reply.error, reply.hint)


def _opened(path: Path) -> int:
    """Make the folder where it is missing, and return its descriptor."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _failed(path, error) from error


def _copy(path: Path, folder: int, name: str, source: int, *, replace: bool) -> None:
    created = f".{name}.{os.urandom(8).hex()}" if replace else name
    try:
        target = os.open(created, _NEW, 0o600, dir_fd=folder)
    except FileExistsError:
        if _holds(folder, name, source):
            return
        raise AgentError(
            f"{path / name} is there already and is another file", "export to an empty folder"
        ) from None
    except OSError as error:
        raise _failed(path / name, error) from error
    try:
        _pour(source, target)
        if replace:
            os.rename(created, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(created, dir_fd=folder)
        raise _failed(path / name, error) from error
    finally:
        os.close(target)


def _pour(source: int, target: int) -> None:
    offset = 0
    while data := os.pread(source, _CHUNK, offset):
        offset += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
    os.fsync(target)


def _holds(folder: int, name: str, source: int) -> bool:
    """Return whether a regular file of that name has the very bytes of ``source``."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        there = os.open(name, flags, dir_fd=folder)
    except OSError:
        return False
    try:
        status = os.fstat(there)
        is_same = stat.S_ISREG(status.st_mode) and status.st_size == os.fstat(source).st_size
        offset = 0
        while is_same and (data := os.pread(source, _CHUNK, offset)):
            is_same = os.pread(there, len(data), offset) == data
            offset += len(data)
    except OSError:
        return False
    finally:
        os.close(there)
    return is_same


def _failed(path: Path, error: OSError) -> AgentError:
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return AgentError(f"{path} cannot be written ({error.strerror})", "name a folder of your own")
    return AgentError(
        f"{path} cannot be written ({error.strerror})", "name another folder, or free some space"
    )
