"""The mute: a person has silenced the recorder, until a person takes that back."""

from pathlib import Path

import structlog

from agent.host.disk import Disk

log = structlog.get_logger()

FILE = "muted"


class Mute:
    """Whether the recorder is muted; any thread may ask and turn it.

    A file in the state directory holds it: a restart must not let a silenced recorder listen again.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._path = folder / FILE
        self._disk = disk
        self.is_on = self._path.exists()

    def turn(self, *, on: bool) -> None:
        """Mute or unmute at once, then durably; a disk that refuses costs only what holds after a restart."""
        if on == self.is_on:
            return
        self.is_on = on
        log.warning(
            "muted" if on else "no longer muted", action="recorder_muted" if on else "recorder_unmuted"
        )
        try:
            if on:
                self._disk.replace(self._path, b"", "mute")
            else:
                self._disk.unlink(self._path, "unmute.unlink")
                self._disk.sync_folder(self._path.parent, "unmute.sync_folder")
        except OSError as error:
            log.error(
                "this holds until the next restart only: the disk refuses to keep it",
                action="mute_failed",
                muted=on,
                error=error,
            )
