"""Whether a folder lies in memory, and is gone with the power: tmpfs, ramfs, zram, or an overlay on one of them."""

import os
import re
from pathlib import Path
from typing import NamedTuple

MOUNTS = Path("/proc/self/mountinfo")
COMMAND_LINE = Path("/proc/cmdline")
_IN_MEMORY = frozenset({"tmpfs", "ramfs", "rootfs"})
_MEMORY_DEVICE = re.compile(r"/dev/(zram|ram)[0-9]+")
_OVERLAY_BOOT = ("boot=overlay", "overlayroot=tmpfs")
"""What Raspberry Pi OS and Debian say to the kernel when the root is an overlay on memory."""
_DEEPEST = 8


class Mount(NamedTuple):
    """A line of mountinfo."""

    device: str
    """``major:minor``."""
    point: str
    kind: str
    source: str
    options: str
    """Of the file system, comma-separated."""


def mount_of(folder: Path, mounts: Path = MOUNTS) -> Mount | None:
    """Return what a folder lies on; None where that cannot be told."""
    device = _device_of(folder)
    return None if device is None else _mount_of(str(folder.resolve()), device, present(mounts))


def present(mounts: Path = MOUNTS) -> list[Mount]:
    """Return what is mounted, in order; nothing where that cannot be read."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
    return [mount for line in lines if (mount := _parsed(line))]


def in_memory(folder: Path, mounts: Path = MOUNTS, command_line: Path = COMMAND_LINE) -> bool | None:
    """Return whether what is written to a folder is in memory only; None where that cannot be told."""
    device = _device_of(folder)
    return None if device is None else _told(str(folder.resolve()), device, present(mounts), command_line)


def _device_of(folder: Path) -> str | None:
    """Return ``major:minor`` of what a folder lies on; None where there is none that can be asked."""
    try:
        number = folder.stat().st_dev
    except OSError:
        return None
    return f"{os.major(number)}:{os.minor(number)}"


def _told(path: str, device: str | None, mounts: list[Mount], command_line: Path) -> bool | None:
    for _ in range(_DEEPEST):
        mount = _mount_of(path, device, mounts)
        if mount is None:
            return None
        if mount.kind in _IN_MEMORY or _MEMORY_DEVICE.fullmatch(mount.source):
            return True
        if mount.kind != "overlay":
            return False
        upper = next(
            (
                option.removeprefix("upperdir=")
                for option in mount.options.split(",")
                if option.startswith("upperdir=")
            ),
            None,
        )
        below = None if upper is None else _mount_of(upper, None, mounts)
        if upper is None or below is None or below.kind == "overlay":
            # Where the layers were mounted before the root was, they cannot be seen from here.
            return True if _boots_an_overlay(command_line) else None
        path, device = upper, None
    return None


def _mount_of(path: str, device: str | None, mounts: list[Mount]) -> Mount | None:
    """Return the mount a path lies on: the last one of its device, or the deepest point that leads to it."""
    if device is not None:
        of_device = [mount for mount in mounts if mount.device == device]
        if of_device:
            return of_device[-1]
    leading = [
        mount for mount in mounts if path == mount.point or path.startswith(mount.point.rstrip("/") + "/")
    ]
    return max(leading, key=lambda mount: len(mount.point), default=None)


def _parsed(line: str) -> Mount | None:
    """Read a line of mountinfo (proc_pid_mountinfo(5)); None for one that is none."""
    before, _, after = line.partition(" - ")
    fields, behind = before.split(" "), after.split(" ")
    if len(fields) < 6 or len(behind) < 3:  # noqa: PLR2004 - the fields that are always there
        return None
    return Mount(fields[2], unescaped(fields[4]), behind[0], unescaped(behind[1]), unescaped(behind[2]))


def unescaped(text: str) -> str:
    r"""Return a field of mountinfo or fstab with its ``\040`` and the like as they are meant."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _boots_an_overlay(command_line: Path) -> bool:
    try:
        words = command_line.read_text("utf-8", "replace").split()
    except OSError:
        return False
    return any(word.startswith(_OVERLAY_BOOT) for word in words)
