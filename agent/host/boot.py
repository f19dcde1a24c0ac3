"""Which boot this is, and the machine's name."""

import socket
from pathlib import Path

from agent import text

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


def boot_id(file: Path = BOOT_ID_FILE) -> str:
    """Return the kernel's id of this boot, a UUID; OSError where it is hidden (ProcSubset=pid)."""
    return file.read_text(encoding="ascii").strip()


def hostname() -> str:
    """Return the machine's name without its domain; bytes that are no UTF-8 are replaced."""
    return text.valid(socket.gethostname()).partition(".")[0]
