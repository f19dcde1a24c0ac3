"""Where settings may come from: a folder of the boot partition, and a stick of a certain label."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from agent.errors import AgentError

FOLDER = "recorder-agent"
BOOT = (Path("/boot/firmware"), Path("/boot"))
"""The boot partition of Raspberry Pi OS, since 2023 and before."""
STICK = Path("/dev/disk/by-label/RECORDER")
MOUNT_SECONDS = 10.0
TYPES = "vfat,exfat"


def boot_folder() -> Path | None:
    """Return the folder of the boot partition; None where there is none."""
    return next((place / FOLDER for place in BOOT if (place / FOLDER).is_dir()), None)


@contextlib.contextmanager
def stick_folder() -> Iterator[Path | None]:
    """Give the folder of the stick, which is mounted meanwhile; None where there is none.

    Raises:
        AgentError: the stick cannot be mounted or read.
    """
    if not STICK.exists():
        yield None
        return
    with _mounted(STICK) as stick:
        folder = stick / FOLDER
        try:
            is_there = folder.is_dir()
        except OSError as error:
            raise AgentError(f"the stick cannot be read ({error.strerror})", "write it anew") from error
        yield folder if is_there else None


@contextlib.contextmanager
def _mounted(device: Path) -> Iterator[Path]:
    """Mount a stick where nobody else sees it; nothing on it can be run."""
    folder = tempfile.mkdtemp(prefix="recorder-agent-")
    try:
        _call("mount", "-t", TYPES, "-o", "rw,nosuid,nodev,noexec,umask=077", str(device), folder)
        try:
            yield Path(folder)
        finally:
            _unmount(folder)
    finally:
        with contextlib.suppress(OSError):  # never with what is in it: that would be the stick's own files
            Path(folder).rmdir()


def _unmount(folder: str) -> None:
    """Unmount a stick; one that was pulled is gone, and one that somebody looks at goes when that ends."""
    try:
        _call("umount", folder)
    except AgentError:
        with contextlib.suppress(AgentError):
            _call("umount", "--lazy", folder)


def _call(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MOUNT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AgentError(f"the stick cannot be mounted ({error})", "write it anew") from error
    if done.returncode:
        reason = done.stderr.strip().partition("\n")[0]
        raise AgentError(f"the stick cannot be mounted ({reason})", "write it anew, as FAT")
