"""The state directory: where it is, who owns it, and which processes work on it.

RemoteCommand: ``storage.directory``, else ``$STATE_DIRECTORY``, else ``/var/lib/recorder-agent`` when the settings
are the system's, else ``$XDG_STATE_HOME/recorder-agent``. Root becomes the owner of the directory before it
writes there, so that no file of root's appears among theirs.
"""

import contextlib
import errno
import os
import pwd
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from agent.config.loader import LoadedConfig
from agent.config.schema import SYSTEM_FILE
from agent.disk import Disk, set_aside
from agent.errors import AgentError
from agent.log import get_logger
from agent.process.state_lock import StateLock, holder_of, is_held, no_right
from agent.sha256 import new_sha256

log = get_logger(__name__)

SYSTEM_STATE = Path("/var/lib/recorder-agent")
SYSTEM_RUNTIME = Path("/run/recorder-agent")
SYSTEM_DELIVERY_RUNTIME = Path("/run/recorder-agent-delivery")
MEMORY = Path("/dev/shm")  # noqa: S108 - the folders in it are made 0700, and used only when they are ours


class Process(StrEnum):
    """The two that work on a state directory."""

    RECORDER = "recorder"
    DELIVERER = "deliverer"


LOCKS = {Process.RECORDER: "daemon.lock", Process.DELIVERER: "delivery.lock"}
"""The recorder's bears the name that versions of one process used: they and the recorder exclude each other."""
CONTROL_SOCKET, DELIVERY_SOCKET = "control.sock", "delivery.sock"
RUNTIME_FILES = (
    *(CONTROL_SOCKET, DELIVERY_SOCKET, "arrivals.sock"),
    *("status.json", "recorder-status.json", "delivery.json", "asound.conf"),
)
"""All that the two processes put into a runtime folder; a document half written is ``.NAME.new``."""


@dataclass(frozen=True)
class StateDirectory:
    """The folders under the state directory, and the runtime folder beside it."""

    path: Path
    runtime: Path
    """This process's folder in memory: for its socket, its status file and the generated ALSA configuration."""

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
    def socket(self) -> Path:
        """The recorder's socket, where it runs."""
        return self.runtime_of(Process.RECORDER) / CONTROL_SOCKET

    @property
    def delivery_socket(self) -> Path:
        """The deliverer's socket, where it runs."""
        return self.runtime_of(Process.DELIVERER) / DELIVERY_SOCKET

    @property
    def token(self) -> Path:
        """The device token and what belongs to it; the recorder never looks into it."""
        return self.path / "token"

    def create(self, disk: Disk | None = None) -> None:
        """Make what is missing, mode 0700, and durable; AgentError when that is not allowed."""
        disk = disk or Disk()
        with _explained(self.path):
            if not self.path.is_dir():
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                disk.sync_folder(self.path.parent, "state.sync_parent")
            for folder in (self.recording, self.outbox, self.sent, self.damaged):
                make_folder(folder)
            disk.sync_folder(self.path, "state.sync_folder")

    def create_runtime(self) -> "StateDirectory":
        """Make this process's runtime folder, mode 0700, and return the directory with the one that is used.

        A folder of somebody else in a place that everybody may write to is left alone, and another name taken.

        Raises:
            AgentError: there is no place for it.
        """
        with _explained(self.runtime):
            with contextlib.suppress(FileExistsError):
                self.runtime.mkdir(mode=0o700)
            if _is_ours(self.runtime) or (self.runtime.is_dir() and self.runtime.parent != MEMORY):
                return self
            import tempfile  # noqa: PLC0415 - seldom needed, and a start costs what it loads

            return replace(self, runtime=Path(tempfile.mkdtemp(prefix="recorder-agent-", dir=MEMORY)))

    def remove_runtime(self) -> None:
        """Remove a runtime folder that was made by hand, once nobody uses it any more.

        Only the files that are put there go, and then the folder if it is empty: whatever else lies in it stays.
        """
        is_by_hand = (
            self.runtime.name.startswith("recorder-agent-") and self.runtime != SYSTEM_DELIVERY_RUNTIME
        )
        if self.runtime == self.path or not is_by_hand:
            return
        with contextlib.suppress(OSError, AgentError):
            if any(self.is_locked(process) for process in Process):
                return
            for name in RUNTIME_FILES:
                (self.runtime / name).unlink(missing_ok=True)
                (self.runtime / f".{name}.new").unlink(missing_ok=True)
            self.runtime.rmdir()

    def lock(self, process: Process = Process.RECORDER, *, supervised: bool = False) -> StateLock:
        """Return the lock of a process that serves here, not yet taken; it names this runtime folder."""
        return StateLock(self.lock_of(process), runtime=self.runtime, supervised=supervised)

    def command_lock(self, process: Process) -> StateLock:
        """Return the lock for a command that does a process's work, not yet taken."""
        return StateLock(self.lock_of(process))

    def is_locked(self, process: Process = Process.RECORDER) -> bool:
        """Return whether a process, or a command in its place, works here now; AgentError without the right to look."""
        return is_held(self.lock_of(process))

    def lock_of(self, process: Process) -> Path:
        """Locked while the process works here; it names the folder of its socket."""
        return self.path / LOCKS[process]

    def runtime_of(self, process: Process) -> Path:
        """Return the folder in which a running process keeps its socket and its status file."""
        holder = holder_of(self.lock_of(process))
        if holder is not None and holder.runtime.startswith("/"):
            return Path(holder.runtime)
        return self.runtime if process is Process.RECORDER else _delivery_runtime(self.runtime)

    def is_service(self, process: Process) -> bool:
        """Whether the holder of a lock is a process that goes on, and not a command that does its work for once."""
        holder = holder_of(self.lock_of(process))
        return holder is not None and bool(holder.runtime)

    def has_holder(self, process: Process) -> bool:
        """Whether a lock file says who holds it; a version of one process says nothing."""
        return holder_of(self.lock_of(process)) is not None

    def was_orderly(self, process: Process) -> bool:
        """Whether the process that ran here last ended because it was told to."""
        holder = holder_of(self.lock_of(process))
        return holder is not None and holder.orderly


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
    return StateDirectory(path, runtime_by_hand(path, environ))


def runtime_by_hand(path: Path, environ: Mapping[str, str], memory: Path = MEMORY) -> Path:
    """Return the folder in memory for sockets and status files, where systemd gives none; nothing is created.

    ``$XDG_RUNTIME_DIR`` when it is this user's, else a folder under ``/dev/shm``, named by user and state directory.
    """
    digest = new_sha256()
    digest.update(os.fsencode(path.absolute()))
    name = digest.hexdigest()[:12]
    given = Path(environ.get("XDG_RUNTIME_DIR", ""))
    if given.is_absolute() and _is_ours(given):
        return given / f"recorder-agent-{name}"
    if memory.is_dir():
        return memory / f"recorder-agent-{os.geteuid()}-{name}"
    return path


def make_folder(folder: Path) -> None:
    """Make a folder of ours, mode 0700; what stands at its name and is none is set aside."""
    if os.path.lexists(folder) and not folder.is_dir():
        log.warning(
            "stands where a folder of ours belongs, set aside", action="state_foreign", file=folder.name
        )
        set_aside(folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_mode & 0o777 != 0o700:  # noqa: PLR2004 - a mode
        with contextlib.suppress(PermissionError):  # vfat has no modes, and the owner may be another
            folder.chmod(0o700)


def _is_ours(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _delivery_runtime(runtime: Path) -> Path:
    """Return where the deliverer's folder is when nothing else tells: beside the recorder's under systemd."""
    return SYSTEM_DELIVERY_RUNTIME if runtime == SYSTEM_RUNTIME else runtime


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
        raise no_right(state.path, error) from error
    if os.geteuid() == 0 and owner.st_uid != 0:
        _become(owner.st_uid, owner.st_gid, environ)
    if not os.access(state.path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        raise no_right(state.path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


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
    """Bind a Unix socket to a path of any length (sun_path has room for 107 bytes), for its owner alone.

    What stands there goes; a folder is set aside.
    """
    try:
        path.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError):
        path.rename(path.with_name(f"{path.name}.{time.time_ns()}.foreign"))
    with short_path(path) as name:
        listener.bind(name)
    path.chmod(0o600)


def connect(client: socket.socket, path: Path) -> None:
    """Connect a Unix socket to a path of any length."""
    with short_path(path) as name:
        client.connect(name)


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Give a name of a socket that fits into an address, however long its path is."""
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
        raise no_right(path, error) from error
