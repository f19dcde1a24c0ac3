"""What a disk that refuses is called: full, read-only, failing, gone, or forbidden, each with what to do."""

import errno
import os
from pathlib import Path
from typing import NamedTuple

from agent.errors import AgentError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_BROKEN = {
    errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.EREMOTEIO, errno.ENODEV, errno.ENXIO, errno.ENOTCONN,
    errno.ESTALE, errno.ESHUTDOWN, errno.ETIMEDOUT,
}  # fmt: skip
_GONE = {errno.ENOENT, errno.ENOTDIR}
_ALONE = "recording goes on by itself"


class DiskFault(NamedTuple):
    """Why nothing can be written."""

    problem: AgentError
    """For a person."""
    is_full: bool
    """Room helps."""
    disk_fails: bool
    """The disk itself fails: what is open on it keeps it from being repaired."""


def disk_fault(error: OSError, folder: Path) -> DiskFault:
    """Return what is wrong with the file system of a folder, by what it answered."""
    said = error.strerror or str(error)
    if error.errno in _FULL:
        lacks = "not one more file fits on it" if _lacks_inodes(folder) else said
        return DiskFault(
            AgentError(
                f"the disk of {folder} is full ({lacks})", "free some space, deliver or delete recordings"
            ),
            True,
            False,
        )
    if error.errno == errno.EROFS:
        problem = AgentError(
            f"the file system of {folder} is read-only, which the kernel makes it after an error",
            f"check it with fsck and mount it again, or replace the disk: {_ALONE}",
        )
    elif error.errno in _BROKEN:
        problem = AgentError(
            f"the disk of {folder} fails ({said})",
            f"look at its plug, check it with fsck and mount it again, or replace it: {_ALONE}",
        )
    elif error.errno in _GONE:
        problem = AgentError(f"{folder} is not there", f"mount the disk of the recordings again: {_ALONE}")
    elif isinstance(error, PermissionError):
        problem = AgentError(
            f"no right to write to {folder}", "give it back to the owner of the state directory"
        )
    else:
        problem = AgentError(
            f"nothing can be written to {folder} ({said})", "see what the kernel says of it: `sudo dmesg`"
        )
    return DiskFault(problem, False, is_disk_failing(error))


def is_disk_failing(error: OSError) -> bool:
    """Tell whether it is the disk itself that fails: what is open on it keeps it from being repaired."""
    return error.errno == errno.EROFS or error.errno in _BROKEN or error.errno in _GONE


def _lacks_inodes(folder: Path) -> bool:
    try:
        status = os.statvfs(folder)
    except OSError:
        return False
    return status.f_files > 0 and status.f_favail == 0 and status.f_bavail > 0
