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


@contextlib.contextmanager
def folders() -> Iterator[list[Path]]:
    """Give the folders that there are now: that of the boot partition first; a stick is mounted meanwhile."""
    found = [place / FOLDER for place in BOOT if (place / FOLDER).is_dir()][:1]
    with contextlib.ExitStack() as stack:
        if STICK.exists():
            stick = stack.enter_context(_mounted(STICK))
            if (stick / FOLDER).is_dir():
                found.append(stick / FOLDER)
        yield found


@contextlib.contextmanager
def _mounted(device: Path) -> Iterator[Path]:
    """Mount a stick where nobody else sees it; nothing on it can be run."""
    with tempfile.TemporaryDirectory(prefix="recorder-agent-") as folder:
        _call("mount", "-t", TYPES, "-o", "rw,nosuid,nodev,noexec,umask=077", str(device), folder)
        try:
            yield Path(folder)
        finally:
            with contextlib.suppress(AgentError):  # it was pulled
                _call("umount", folder)


def _call(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MOUNT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AgentError(f"the stick cannot be mounted ({error})", "write it anew") from error
    if done.returncode:
        reason = done.stderr.strip().partition("\n")[0]
        raise AgentError(f"the stick cannot be mounted ({reason})", "write it anew, as FAT")
