"""Which commands were decided upon: each is obeyed once, also after a restart."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from agent import bounds
from agent.clock import Instant
from agent.disk import Disk
from agent.json_file import JsonFile
from agent.log import get_logger
from agent.small_file import UnusableFile

log = get_logger(__name__)

FILE = "commands.json"
REMEMBERED_MS = 86_400_000
MOST_REMEMBERED = 500
"""The newest are kept, however many come in a day."""
IDS = msgspec.json.Decoder(dict[str, Instant])


class ProcessedCommands:
    """The ids of commands that were decided upon, for a day, in ``commands.json``."""

    def __init__(self, folder: Path, disk: Disk, now: Callable[[], Instant]) -> None:
        self._file = JsonFile(folder / FILE, IDS, disk, "commands")
        self._now = now
        self._ids = self._load()

    def __contains__(self, identity: str) -> bool:
        return identity in self._ids

    def add(self, identities: list[str]) -> None:
        """Remember them durably; a disk that fails costs the memory of them at a restart, and is said."""
        now = self._now()
        for identity in identities:
            self._ids[identity] = now
        kept = [(identity, at) for identity, at in self._ids.items() if not _is_over(at, now)]
        self._ids = dict(kept[-MOST_REMEMBERED:])
        try:
            self._file.replace(self._ids)
        except OSError as error:
            log.warning("commands cannot be remembered", action="commands_failed", error=error)

    def _load(self) -> dict[str, Instant]:
        try:
            ids = self._file.load()
        except (OSError, UnusableFile):
            return {}
        return {identity: at for identity, at in ids.items() if bounds.is_word(identity, bounds.ID_CHARS)}


def _is_over(at: Instant, now: Instant) -> bool:
    """Whether a day has passed; across a reboot only the wall clock can tell, and one that went back says no."""
    if at.boot_id == now.boot_id:
        return now.boot_ms - at.boot_ms > REMEMBERED_MS
    return now.wall_ms - at.wall_ms > REMEMBERED_MS
