"""The mute: a person has silenced the recorder, until a person takes that back."""

import threading
from pathlib import Path

from agent.disk import Disk
from agent.log import get_logger

log = get_logger(__name__)

FILE = "muted"


class Mute:
    """Whether the recorder is muted; any thread may ask and turn it.

    A file in the state directory holds it: a restart must not let a silenced recorder listen again.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._path = folder / FILE
        self._disk = disk
        self._turning = threading.Lock()
        self.is_on = self._path.exists()
        self.is_durable = True
        """Whether a restart would find it as it is."""

    def turn(self, *, on: bool | None) -> bool:
        """Mute or unmute (None: the other way round) at once, then durably; return whether it is muted now.

        A disk that refuses costs only what holds after a restart: ``is_durable``.
        """
        with self._turning:
            on = not self.is_on if on is None else on
            if on != self.is_on or not self.is_durable:
                self._turn(on=on)
            return on

    def _turn(self, *, on: bool) -> None:
        self.is_on = on
        log.warning(
            "muted" if on else "no longer muted", action="recorder_muted" if on else "recorder_unmuted"
        )
        self.is_durable = False
        try:
            if on:
                self._disk.replace(self._path, b"", "mute")
            else:
                self._disk.unlink(self._path, "unmute.unlink")
                self._disk.sync_folder(self._path.parent, "unmute.sync_folder")
            self.is_durable = True
        except OSError as error:
            log.error(
                "this holds until the next restart only: the disk refuses to keep it",
                action="mute_failed",
                muted=on,
                error=error,
            )
