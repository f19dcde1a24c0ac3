"""By how much this machine itself is late and slow: what it stands still for is no pause of a program's."""

import contextlib
import os
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

EVERY_SECONDS, WORK_SECONDS = 0.1, 0.02
KEPT = 3000


class Lateness:
    """Writes a little to the disk again and again and works a little, and keeps how long that took too long."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lateness"
        self._late: list[tuple[float, float]] = []
        self._began = time.monotonic()
        self._slow: list[tuple[float, float]] = []

    def since(self, moment: float) -> float:
        """Return the longest lateness since a moment of the monotonic clock, in seconds; one that goes on counts."""
        present = time.monotonic() - self._began - 2 * EVERY_SECONDS
        return max(present, *(late for at, late in list(self._late) if at >= moment), 0.0)

    def slowness(self, moment: float) -> float:
        """Return how many times longer than on an idle machine work took since a moment, the median; from 1 on."""
        return statistics.median([slow for at, slow in list(self._slow) if at >= moment] or [1.0])

    def watch(self, ended: threading.Event) -> None:
        """Measure until ``ended`` is set."""
        with self._path.open("wb", buffering=0) as file:
            while not ended.is_set():
                began = self._began = time.monotonic()
                time.sleep(EVERY_SECONDS)
                file.write(b"x")
                os.fdatasync(file.fileno())
                now = time.monotonic()
                self._late = [*self._late[-KEPT:], (now, max(0.0, now - began - 2 * EVERY_SECONDS))]
                self._slow = [*self._slow[-KEPT:], (now, worked())]


def worked() -> float:
    """Work for some milliseconds; return how many times longer that took."""
    began, own = time.monotonic(), time.thread_time()
    while time.thread_time() - own < WORK_SECONDS:
        pass
    return max(1.0, (time.monotonic() - began) / WORK_SECONDS)


@contextlib.contextmanager
def measured(folder: Path) -> Iterator[Lateness]:
    """Measure until the block ends."""
    lateness, ended = Lateness(folder), threading.Event()
    thread = threading.Thread(target=lateness.watch, args=(ended,), daemon=True)
    thread.start()
    try:
        yield lateness
    finally:
        ended.set()
        thread.join(5)
