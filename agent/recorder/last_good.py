"""The settings a service last started well with: used when those of the file are wrong."""

from collections.abc import Mapping
from pathlib import Path

from agent.disk import Disk
from agent.log import get_logger
from agent.small_file import UnusableFile, read_bytes

log = get_logger(__name__)

FILE = "config.last-good.toml"


def last_good(environ: Mapping[str, str]) -> Path | None:
    """Return where they are kept; None without a state directory of systemd's."""
    folder = environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(folder) / FILE if folder else None


def keep(file: Path, copy: Path, disk: Disk) -> None:
    """Keep the settings of a file that the recorder has started well with; a disk that refuses costs only that."""
    try:
        data = file.read_bytes()
        if _kept(copy) != data:
            disk.replace(copy, data, "config")
    except OSError as error:
        log.warning("the settings cannot be kept", action="config_not_kept", error=error)


def _kept(copy: Path) -> bytes | None:
    try:
        return read_bytes(copy)
    except (OSError, UnusableFile):
        return None
