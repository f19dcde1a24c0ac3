"""Clocks for lives that are shorter than the time they live through."""

import threading
import time

EPOCH = 1_790_000_000.0
"""Wall time at which simulated time begins."""


class SimulatedClock:
    """Stands still until somebody waits; wall, monotonic and boot time pass together."""

    def __init__(self, elapsed: float = 0.0) -> None:
        self.elapsed = elapsed

    def wall(self) -> float:
        """Unix time."""
        return EPOCH + self.elapsed

    def monotonic(self) -> float:
        """Seconds, over restarts too: the machine stays on."""
        return 1000.0 + self.elapsed

    def boottime(self) -> float:
        """The same as ``monotonic``."""
        return self.monotonic()

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Let the time pass at once."""
        if not event.is_set():
            self.elapsed += seconds or 0.0
        return event.is_set()

    def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.elapsed += seconds


class FastClock:
    """Runs ``factor`` times as fast as the machine's, from ``zero`` (its monotonic time) on."""

    def __init__(self, zero: float, factor: float) -> None:
        self._zero = zero
        self._factor = factor

    def _elapsed(self) -> float:
        return (time.monotonic() - self._zero) * self._factor

    def wall(self) -> float:
        """Unix time."""
        return EPOCH + self._elapsed()

    def monotonic(self) -> float:
        """Seconds, over restarts too."""
        return 1000.0 + self._elapsed()

    def boottime(self) -> float:
        """The same as ``monotonic``."""
        return self.monotonic()

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Wait for a fraction of the time."""
        return event.wait(None if seconds is None else seconds / self._factor)

    def sleep(self, seconds: float) -> None:
        """Sleep for a fraction of the time."""
        time.sleep(seconds / self._factor)
