"""The token's files of earlier versions: moved once into ``token/``, with links left where those versions look.

A version of one process that is installed again finds its files through the links, and puts a file of its own in the
place of a link when it writes; such a file is newer than what lies in ``token/``, and is taken over again.
"""

import contextlib
from pathlib import Path

from agent.disk import Disk
from agent.errors import CredentialError
from agent.log import get_logger
from agent.process.state_directory import make_folder
from agent.small_file import is_regular
from agent.token.file import read_token
from agent.token.sources import TOKEN_NAME

log = get_logger(__name__)

NAMES = (
    "lineages.json",
    "device-token.json",
    "device-token.refreshed",
    "device-token.refreshed.tmp",
    "device-token",
)
"""The token itself last: what belongs to it is there before it is."""
LINKED = ("lineages.json", "device-token.json", "device-token")


def take_over(state: Path, disk: Disk) -> None:
    """Move what lies in the old places, and leave links; a disk that refuses is said, and tried at the next start."""
    token = state / "token"
    try:
        make_folder(token)
        moved = [name for name in NAMES if _move(state / name, token / name, disk)]
        if moved:
            disk.sync_folder(token, "takeover.sync_token")
            log.info("the token's files have moved into token/", action="token_moved", files=moved)
        if sum(_link(state / name, name) for name in LINKED) or moved:
            disk.sync_folder(state, "takeover.sync_state")
    except OSError as error:
        log.error("the token's files cannot be moved into token/", action="token_move_failed", error=error)


def _move(old: Path, new: Path, disk: Disk) -> bool:
    if not is_regular(old) or not _is_usable(old):
        return False
    disk.rename(old, new, "takeover.rename")
    return True


def _is_usable(old: Path) -> bool:
    """Whether a token's file holds one: what holds none must not take the place of one that counts."""
    if old.name != TOKEN_NAME:
        return True
    try:
        return read_token(old, ours=False) is not None
    except CredentialError as error:
        log.warning("stays where it is", action="token_move_failed", file=old.name, error=error)
        return False


def _link(place: Path, name: str) -> bool:
    """Leave a link for an earlier version; return whether there was none."""
    if place.is_symlink() or place.exists():
        return False
    with contextlib.suppress(OSError):  # vfat has none: there an earlier version is told its token anew
        place.symlink_to(Path("token") / name)
        return True
    return False
