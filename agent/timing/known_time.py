"""What time it really is, as others have learnt it: read from small files, never written."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agent.bounds import EARLIEST, LATEST, BootId, ClockSource, OffsetMs, clamped_wall_ms
from agent.clock import NTP, SERVER, UNSYNCHRONIZED, Clock, Instant, milliseconds
from agent.small_file import load_or_none

FINE_MS = 500
"""What a server tells is known no finer."""
READINGS = 5
"""How often two clocks are read, at most, until nothing came between."""
AT_ONCE_SECONDS = 0.0005
FILE = "boots.json"
CLOCK_FILE = "clock.json"
LONGEST_UPTIME = 10 * 366 * 86_400.0
"""Seconds."""
EARLIEST_MS, LATEST_MS = round((EARLIEST - LONGEST_UPTIME) * 1000), round(LATEST * 1000)
"""An offset outside is nobody's clock: a boot's clock stood at zero before this program was running."""


class Boot(msgspec.Struct, frozen=True):
    """The wall time, in unix milliseconds, at which a boot's clock stood at zero, and who said so."""

    offset_ms: OffsetMs
    source: ClockSource


class ClockDocument(msgspec.Struct, frozen=True):
    """What ``clock.json`` holds: the deliverer tells the recorder the offset of this boot."""

    boot_id: BootId
    offset_ms: Annotated[int, Meta(ge=EARLIEST_MS, le=LATEST_MS)]
    source: Literal["ntp", "server"]


BOOTS = msgspec.json.Decoder(dict[BootId, Boot])
CLOCK = msgspec.json.Decoder(ClockDocument)


class KnownTime:
    """Says what time it is by what is known of the boots; thread-safe."""

    def __init__(self, clock: Clock, boot_id: str, machine: Callable[[], str | None]) -> None:
        self._clock = clock
        self._boot_id = boot_id
        self._machine = machine
        self._boots: dict[str, Boot] = {}

    def read_clock(self, folder: Path) -> None:
        """Take over what ``clock.json`` says of this boot; of another, or out of range, it says nothing."""
        said = load_or_none(folder / CLOCK_FILE, CLOCK)
        known = said is not None and said.boot_id == self._boot_id
        self._boots = {said.boot_id: Boot(said.offset_ms, said.source)} if said is not None and known else {}

    def read_boots(self, folder: Path) -> None:
        """Take over what ``boots.json`` says."""
        boots = load_or_none(folder / FILE, BOOTS) or {}
        self._boots = {
            boot_id: boot
            for boot_id, boot in boots.items()
            if boot.source == NTP or EARLIEST_MS <= boot.offset_ms <= LATEST_MS
        }

    def state(self) -> str:
        """Return ``ntp``, ``server`` or ``unsynchronized``, for the time that ``now_ms`` gives."""
        if self._machine() == NTP:
            return NTP
        return UNSYNCHRONIZED if self._boot_id not in self._boots else SERVER

    def now_ms(self) -> int:
        """Return the best knowledge of the unix time, in milliseconds."""
        return self.instant(self._clock.monotonic()).wall_ms

    def instant(self, monotonic: float) -> Instant:
        """Return a moment of the monotonic clock on the other clocks, its wall time as good as it is known."""
        return self.at_boot(monotonic + self._ahead(self._clock.boottime, self._clock.monotonic))

    def at_boot(self, seconds: float) -> Instant:
        """Return a moment of the boot clock (CLOCK_BOOTTIME, in seconds) on the other clocks."""
        boot_ms = milliseconds(seconds)
        state = self.state()
        wall_ms = boot_ms + self._machine_offset_ms()
        boot = self._boots.get(self._boot_id)
        if state == SERVER and boot is not None:
            wall_ms = boot.offset_ms + boot_ms
        return Instant(clamped_wall_ms(wall_ms), self._boot_id, max(0, boot_ms), state)

    def corrected(self, instant: Instant) -> Instant:
        """Return a moment that was taken under a wrong clock with its true wall time, if that is known by now.

        What a server told may have been taken back since, and NTP knows better.
        """
        boot = self._known(instant.boot_id)
        if instant.clock == NTP or boot is None:
            return instant
        wall_ms = clamped_wall_ms(boot.offset_ms + instant.boot_ms)
        if instant.clock == SERVER == boot.source and abs(wall_ms - instant.wall_ms) < FINE_MS:
            return instant
        return Instant(wall_ms, instant.boot_id, instant.boot_ms, boot.source)

    def _known(self, boot_id: str) -> Boot | None:
        """Return what is known of a boot; of this one also by the machine's own clock."""
        if boot_id == self._boot_id and self._machine() == NTP:
            return Boot(self._machine_offset_ms(), NTP)
        return self._boots.get(boot_id)

    def elapsed_ms(self, start: Instant, end: Instant) -> int | None:
        """Return the milliseconds between two moments, None when they are of boots that cannot be compared."""
        if start.boot_id == end.boot_id:
            return end.boot_ms - start.boot_ms
        start, end = self.corrected(start), self.corrected(end)
        if UNSYNCHRONIZED in {start.clock, end.clock}:
            return None
        return end.wall_ms - start.wall_ms

    def _machine_offset_ms(self) -> int:
        """Return the machine's wall clock less its boot clock."""
        return milliseconds(self._ahead(self._clock.wall, self._clock.boottime))

    def _ahead(self, one: Callable[[], float], other: Callable[[], float]) -> float:
        """Return how far one clock is ahead of another, in seconds: of some readings the one taken most at once.

        A thread that loses the processor between two readings would shift the moment by as long.
        """
        best, narrowest = 0.0, float("inf")
        for _ in range(READINGS):
            before = other()
            here = one()
            width = other() - before
            if width < narrowest:
                best, narrowest = here - before - width / 2, width
            if narrowest <= AT_ONCE_SECONDS:
                break
        return best

    def _boot_ms(self) -> int:
        return milliseconds(self._clock.boottime())
