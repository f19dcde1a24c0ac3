"""While a service starts: systemd is told that it goes on, for as long as it does, however slow the machine is."""

import sys
import threading
from collections.abc import Callable

from agent.process.systemd import Notifier

TELL_SECONDS = 5.0
MORE_SECONDS = 120.0
"""What each step forward buys; a start that stands still is ended after that, or after the unit's own time-out."""


def loaded_modules() -> int:
    """Return how many modules are loaded: what a start spends its time on."""
    return len(sys.modules)


class Starting:
    """Tells in a thread of its own, from ``begin`` to ``end``; without systemd it does nothing."""

    def __init__(self, notifier: Notifier, progress: Callable[[], int] = loaded_modules) -> None:
        self._notifier = notifier
        self._progress = progress
        self._seen = 0
        self._ended = threading.Event()

    def begin(self) -> None:
        """Start telling."""
        if self._notifier.is_heard:
            threading.Thread(target=self._tell, name="starting", daemon=True).start()

    def end(self) -> None:
        """The service has started, or never will."""
        self._ended.set()

    def poll(self) -> None:
        """Ask for more time when there was progress since the last look."""
        now = self._progress()
        if now != self._seen:
            self._seen = now
            self._notifier.extend(MORE_SECONDS)

    def _tell(self) -> None:
        while not self._ended.wait(TELL_SECONDS):
            self.poll()
