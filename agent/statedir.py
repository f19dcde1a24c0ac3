"""The state directory: where it is, who owns it, and that one daemon at a time works on it.

Order: ``storage.directory``, else ``$STATE_DIRECTORY``, else ``/var/lib/recorder-agent`` when the settings
are the system's, else ``$XDG_STATE_HOME/recorder-agent``. Root becomes the owner of the directory before it
writes there, so that no file of root's appears among the daemon's.
"""

import contextlib
import errno
import fcntl
import os
import pwd
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from agent.config import SYSTEM_FILE, LoadedConfig
from agent.errors import AgentError
from agent.host.disk import Disk

SYSTEM_STATE = Path("/var/lib/recorder-agent")
SYSTEM_RUNTIME = Path("/run/recorder-agent")
_LOCK_TRIES = 10
_LOCK_PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class StateDirectory:
    """The folders under the state directory, and the runtime folder beside it."""

    path: Path
    runtime: Path
    """For the control socket and the ear's ALSA configuration."""

    @property
    def recording(self) -> Path:
        """Open ``.part`` files."""
        return self.path / "recording"

    @property
    def outbox(self) -> Path:
        """Finished, not yet delivered."""
        return self.path / "outbox"

    @property
    def sent(self) -> Path:
        """Delivered, kept for a while."""
        return self.path / "sent"

    @property
    def damaged(self) -> Path:
        """Nothing could be made of these."""
        return self.path / "damaged"

    @property
    def database(self) -> Path:
        """The index of the outbox."""
        return self.path / "outbox.db"

    @property
    def lock_file(self) -> Path:
        """Locked while a daemon works here."""
        return self.path / "daemon.lock"

    @property
    def socket(self) -> Path:
        """The control socket."""
        return self.runtime / "control.sock"

    def create(self, disk: Disk | None = None) -> None:
        """Make what is missing, mode 0700, and durable; AgentError when that is not allowed."""
        disk = disk or Disk()
        with _explained(self.path):
            if not self.path.is_dir():
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                disk.sync_folder(self.path.parent, "state.sync_parent")
            for folder in (self.recording, self.outbox, self.sent, self.damaged):
                folder.mkdir(mode=0o700, exist_ok=True)
                if folder.stat().st_mode & 0o077:
                    with contextlib.suppress(
                        PermissionError
                    ):  # vfat has no modes, and the owner may be another
                        folder.chmod(0o700)
            disk.sync_folder(self.path, "state.sync_folder")

    def lock(self) -> "StateLock":
        """Return the lock, not yet taken."""
        return StateLock(self.lock_file)

    def is_locked(self) -> bool:
        """Return whether a daemon works here now; AgentError without the right to look."""
        try:
            descriptor = os.open(self.lock_file, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise _no_right(self.path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


def resolve(
    loaded: LoadedConfig,
    environ: Mapping[str, str],
    *,
    system_file: Path = SYSTEM_FILE,
    system_state: Path = SYSTEM_STATE,
    system_runtime: Path = SYSTEM_RUNTIME,
) -> StateDirectory:
    """Return where the state is; nothing is created."""
    is_system = loaded.file == system_file
    path = _state_path(loaded, environ, system_state if is_system else None)
    given = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given:
        return StateDirectory(path, Path(given))
    if (is_system or path == system_state) and system_runtime.is_dir():
        return StateDirectory(path, system_runtime)
    return StateDirectory(path, path)


def _state_path(loaded: LoadedConfig, environ: Mapping[str, str], system: Path | None) -> Path:
    if loaded.config.storage.directory:
        return Path(loaded.config.storage.directory)
    if given := environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(given)
    if system is not None:
        return system
    xdg = environ.get("XDG_STATE_HOME", "")
    if not Path(xdg).is_absolute():  # the XDG specification: relative ones are to be ignored
        xdg = str(Path(environ.get("HOME") or "/") / ".local" / "state")
    return Path(xdg) / "recorder-agent"


class StateLock:
    """The lock of one daemon (flock); the kernel gives it back when the process ends, however it ends."""

    def __init__(self, path: Path, sleep: Callable[[float], None] = time.sleep) -> None:
        self._path = path
        self._sleep = sleep
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock; AgentError when another process has it."""
        with _explained(self._path.parent):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(descriptor)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise AgentError(
                    f"another recorder-agent already works on {self._path.parent}: "
                    "stop it first, or name another storage.directory"
                ) from None
            raise _no_right(self._path.parent, error) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _take(self, descriptor: int) -> None:
        for _ in range(_LOCK_TRIES - 1):  # ``is_locked`` of another process holds it for a moment
            with contextlib.suppress(BlockingIOError):
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sleep(_LOCK_PAUSE_SECONDS)
        return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def become_owner(state: StateDirectory, environ: dict[str, str] | os._Environ[str]) -> None:
    """As root, become the owner of an existing state directory for good; anybody else needs the right to it.

    Raises:
        AgentError: the directory is somebody else's, or its owner cannot reach it.
    """
    try:
        owner = state.path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _no_right(state.path, error) from error
    if os.geteuid() == 0 and owner.st_uid != 0:
        _become(owner.st_uid, owner.st_gid, environ)
    if not os.access(state.path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        raise _no_right(state.path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _become(uid: int, gid: int, environ: dict[str, str] | os._Environ[str]) -> None:
    try:
        entry = pwd.getpwuid(uid)
        gid, home, groups = entry.pw_gid, entry.pw_dir, os.getgrouplist(entry.pw_name, entry.pw_gid)
        environ["USER"] = environ["LOGNAME"] = entry.pw_name
    except KeyError:  # a number without a name: a container's, or a DynamicUser that is gone
        home, groups = "/", [gid]
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    environ["HOME"] = home


def bind(listener: socket.socket, path: Path) -> None:
    """Bind a Unix socket to a path of any length (sun_path has room for 107 bytes)."""
    with _short(path) as name:
        listener.bind(name)


def connect(client: socket.socket, path: Path) -> None:
    """Connect a Unix socket to a path of any length."""
    with _short(path) as name:
        client.connect(name)


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _no_right(path, error) from error


def _no_right(path: Path, error: OSError) -> AgentError:
    if isinstance(error, PermissionError):
        return AgentError(f"no right to use the state directory {path}: run this as its owner, or with sudo")
    return AgentError(f"the state directory {path} cannot be used: {error.strerror}")
