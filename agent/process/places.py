"""Where the state of a service has lain: what tells where recordings and token may wait after a change of the place."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from agent import text
from agent.disk import Disk
from agent.log import get_logger
from agent.small_file import load_or_none

log = get_logger(__name__)

PLACES_NAME = "places.json"
"""In the service's own state directory, whatever ``storage.directory`` says; the recorder writes it."""
MOST_PLACES = 20
PLACES = msgspec.json.Decoder(
    Annotated[list[Annotated[str, Meta(max_length=4096)]], Meta(max_length=MOST_PLACES)]
)


def service_folder(environ: Mapping[str, str]) -> Path | None:
    """Return the state directory that systemd gives the service; None where this is no service."""
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(given) if given else None


def noted_places(folder: Path) -> list[Path]:
    """Return where the state has lain, oldest first; the service's own directory is where it lies by default."""
    noted = [Path(place) for place in load_or_none(folder / PLACES_NAME, PLACES) or []]
    return list(dict.fromkeys([folder, *noted]))


def note_place(folder: Path, place: Path, disk: Disk) -> None:
    """Note where the state lies now; a disk that refuses costs only that."""
    noted = [str(each) for each in noted_places(folder)[1:]]
    if str(place) in {str(folder), *noted}:
        return
    try:
        disk.replace(folder / PLACES_NAME, text.encoded([*noted, str(place)][-MOST_PLACES:]), "places")
    except OSError as error:
        log.warning("the place of the state cannot be noted", action="config_not_kept", error=error)
