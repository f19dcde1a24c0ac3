"""``binding``: under which binding of the device audio is captured, as the deliverer says (api.md section 7)."""

import re
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from agent.log import get_logger
from agent.recording.binding import UNKNOWN
from agent.small_file import UnusableFile, read_bytes

log = get_logger(__name__)

FILE = "binding"
LARGEST = 64
Binding = Annotated[str, Meta(min_length=1, max_length=LARGEST)]
_FINGERPRINT = re.compile(r"[0-9a-f]{8}\n?")


class BindingFile:
    """The binding in force, looked at by ``read`` and told by ``current``; ``before`` is what was in force last."""

    def __init__(self, folder: Path, before: str | None) -> None:
        self._path = folder / FILE
        self._seen = before
        self._current: str | None = None
        self.read()

    def current(self) -> str | None:
        """Return a fingerprint, ``unknown``, or None: there has never been one."""
        return self._current

    def read(self) -> None:
        """Look at the file."""
        now = self._look()
        if now != self._current and now == UNKNOWN:
            log.warning(
                "whose recordings these are cannot be told: they are held until a person releases them",
                action="binding_unknown",
            )
        self._current = now
        self._seen = now or self._seen

    def _look(self) -> str | None:
        try:
            text = read_bytes(self._path, LARGEST).decode("ascii", "replace")
        except FileNotFoundError:
            return UNKNOWN if self._seen is not None else None
        except (OSError, UnusableFile):
            return UNKNOWN
        return text.strip() if _FINGERPRINT.fullmatch(text) else UNKNOWN
