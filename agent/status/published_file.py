"""A file for other programs: replaced whole again and again, never made durable."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from agent.disk import set_aside
from agent.log import Failures, get_logger

log = get_logger(__name__)


class PublishedFile:
    """One file that is written again and again; the first failure of a row is a warning, the rest are for debugging."""

    def __init__(self, path: Path, mode: int, every: float, content: Callable[[], bytes]) -> None:
        self.path = path
        self._mode = mode
        self._every = every
        self._content = content
        self._due = 0.0
        self._failures = Failures(log)

    def is_due(self, now: float) -> bool:
        """Whether it was not written for so long; ``now`` is monotonic."""
        return now >= self._due

    def write(self, now: float) -> None:
        """Write it."""
        self._due = now + self._every
        try:
            replace(self.path, self._content(), self._mode)
        except Exception as error:  # noqa: BLE001 - whatever it was, a file for others never stops the recorder
            self._failures.failed(
                "a file for other programs cannot be written",
                action="publish_failed",
                path=str(self.path),
                error=error,
            )
            return
        if self._failures.ended():
            log.info("it can be written again", action="publish_restored", path=str(self.path))

    def remove(self) -> None:
        """Leave nothing behind that speaks of a recorder that runs."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def replace(path: Path, content: bytes, mode: int) -> None:
    """Put a file in the place of another: whole or not at all, of the folder's group where that is allowed."""
    temporary = path.with_name(f".{path.name}.new")  # the textfile collector reads only what ends in .prom
    _clear(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, -1, path.parent.stat().st_gid)
            os.fchmod(descriptor, mode)
        try:
            temporary.rename(path)
        except IsADirectoryError:
            set_aside(path)
            temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _clear(path: Path) -> None:
    """Make room for a file; a folder is set aside."""
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        set_aside(path)
