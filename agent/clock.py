"""Time, handed in: three clocks and the way to wait on them, so that tests can own all four."""

import threading
import time
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from agent.bounds import BootId, BootMs, ClockSource, WallMs

NTP, SERVER, UNSYNCHRONIZED = "ntp", "server", "unsynchronized"
"""Who said what the wall clock is worth."""


class Clock(Protocol):
    """Wall, monotonic and boot time, in seconds, and waiting."""

    def wall(self) -> float:
        """Unix time; may jump in both directions."""

    def monotonic(self) -> float:
        """Never goes back; stands still while the machine is suspended."""

    def boottime(self) -> float:
        """Seconds since boot, suspension included (CLOCK_BOOTTIME)."""

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Wait for ``event`` at most ``seconds`` (None: for ever); return whether it is set."""

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass."""


class SystemClock:
    """The machine's own clocks."""

    def wall(self) -> float:
        """Unix time of the machine."""
        return time.time()

    def monotonic(self) -> float:
        """CLOCK_MONOTONIC: the clock whose stamps captured frames carry."""
        return time.monotonic()

    def boottime(self) -> float:
        """CLOCK_BOOTTIME."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Wait for real."""
        return event.wait(seconds)

    def sleep(self, seconds: float) -> None:
        """Sleep for real."""
        time.sleep(seconds)


class Interval:
    """Tells when so many seconds have passed since ``restart``, or since it was made."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self.restart()

    def restart(self) -> None:
        """Let the seconds begin now."""
        self._began = self._clock.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether they have passed."""
        return self._clock.monotonic() - self._began >= self._seconds


class Instant(msgspec.Struct, frozen=True):
    """One moment on this boot's clocks, and what the wall clock was worth then."""

    wall_ms: WallMs
    """Unix time in milliseconds."""
    boot_id: BootId
    """The kernel's boot id."""
    boot_ms: BootMs
    """CLOCK_BOOTTIME in milliseconds."""
    clock: ClockSource
    """``ntp``, ``server`` or ``unsynchronized``."""

    def later(self, milliseconds: int) -> "Instant":
        """Return the moment so much later by the same clocks."""
        return Instant(self.wall_ms + milliseconds, self.boot_id, self.boot_ms + milliseconds, self.clock)


INSTANT = msgspec.json.Decoder(Instant)


def rfc3339(milliseconds: int) -> str:
    """Return unix milliseconds as UTC with milliseconds and ``Z``."""
    moment = datetime.fromtimestamp(milliseconds // 1000, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def rfc3339_or_none(milliseconds: int | None) -> str | None:
    """Return unix milliseconds as RFC 3339, or None for an unknown time."""
    return None if milliseconds is None else rfc3339(milliseconds)


def milliseconds(seconds: float) -> int:
    """Return seconds as whole milliseconds."""
    return round(seconds * 1000)
