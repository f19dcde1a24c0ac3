"""What time it really is, on a machine that may boot with yesterday's clock (design: time without an RTC).

The boot clock counts right from the start; what is unknown is the wall time at which it stood at zero: the *offset* of
a boot. It is learnt from the wall clock once NTP has set it, or from the ``Date`` of an answer of the API, and kept in
``boots.json``, so that recordings of an earlier boot can be dated later.
"""

import math
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from agent.bounds import BootId, ClockSource, OffsetMs, clamped_wall_ms
from agent.host.disk import Disk
from agent.host.small_file import UnusableFile, load
from agent.recording.clock import NTP, SERVER, UNSYNCHRONIZED, Clock, Instant, milliseconds

log = structlog.get_logger()

__all__ = ["NTP", "SERVER", "UNSYNCHRONIZED", "Boot", "TrueTime"]

FILE = "boots.json"
STEP_MS = 2000
"""A change of NTP's offset larger than this is a step of the clock, and kept."""
HEADER_MS = 1000
"""A ``Date`` header counts whole seconds: so much later may its answer have been made."""
FINE_MS = 500
"""What is learnt from the server is kept anew when it differs by this much."""
BOOTS_KEPT = 50


class Boot(msgspec.Struct, frozen=True):
    """The wall time, in unix milliseconds, at which a boot's clock stood at zero, and who said so."""

    offset_ms: OffsetMs
    source: ClockSource


BOOTS = msgspec.json.Decoder(dict[BootId, Boot])


class TrueTime:
    """Knows the offset of this boot, and of earlier ones; thread-safe."""

    def __init__(
        self, folder: Path, disk: Disk, clock: Clock, boot_id: str, machine: Callable[[], str | None]
    ) -> None:
        self._path = folder / FILE
        self._disk = disk
        self._clock = clock
        self._boot_id = boot_id
        self._machine = machine
        self._lock = threading.Lock()
        self._boots = self._load()
        self._range: tuple[float, float] = (-math.inf, math.inf)
        """Within which the server's answers put the offset of this boot."""

    def _load(self) -> dict[str, Boot]:
        try:
            return load(self._path, BOOTS)
        except (FileNotFoundError, UnusableFile):
            return {}

    def state(self) -> str:
        """Return ``ntp``, ``server`` or ``unsynchronized``, for the time that ``now_ms`` gives."""
        if self._machine() == NTP:
            self._learn_from_machine()
            return NTP
        with self._lock:
            return UNSYNCHRONIZED if self._boot_id not in self._boots else SERVER

    def now_ms(self) -> int:
        """Return the best knowledge of the unix time, in milliseconds."""
        return self.instant(self._clock.monotonic()).wall_ms

    def instant(self, monotonic: float) -> Instant:
        """Return a moment of the monotonic clock on the other clocks, its wall time as good as it is known."""
        ago = milliseconds(self._clock.monotonic() - monotonic)
        boot_ms = self._boot_ms() - ago
        state = self.state()
        wall_ms = self._wall_ms() - ago
        if state == SERVER:
            wall_ms = self._boots[self._boot_id].offset_ms + boot_ms
        return Instant(clamped_wall_ms(wall_ms), self._boot_id, max(0, boot_ms), state)

    def corrected(self, instant: Instant) -> Instant:
        """Return a moment that was taken under a wrong clock with its true wall time, if that is known by now."""
        self.state()
        with self._lock:
            boot = self._boots.get(instant.boot_id)
        if instant.clock != UNSYNCHRONIZED or boot is None:
            return instant
        wall_ms = clamped_wall_ms(boot.offset_ms + instant.boot_ms)
        return Instant(wall_ms, instant.boot_id, instant.boot_ms, boot.source)

    def apart_ms(self, start: Instant, end: Instant) -> int | None:
        """Return the milliseconds between two moments, None when they are of boots that cannot be compared."""
        if start.boot_id == end.boot_id:
            return end.boot_ms - start.boot_ms
        start, end = self.corrected(start), self.corrected(end)
        if UNSYNCHRONIZED in {start.clock, end.clock}:
            return None
        return end.wall_ms - start.wall_ms

    def learn_from_server(self, server: float, monotonic: float, round_trip: float) -> None:
        """Take a ``Date`` header: unix seconds, when it arrived, and how long the call took.

        It leaves a range of offsets: the answer was made within the round trip, and within a second of its header.
        Ranges narrow each other; one that contradicts begins anew. A wall clock within it is right, and finer.
        """
        if self._machine() == NTP:
            return
        arrived_ms = self._boot_ms() - milliseconds(self._clock.monotonic() - monotonic)
        least = milliseconds(server) - arrived_ms
        most = least + HEADER_MS + milliseconds(round_trip)
        wall_offset = self._wall_ms() - self._boot_ms()
        with self._lock:
            known = self._boots.get(self._boot_id)
            narrowed = (max(least, self._range[0]), min(most, self._range[1]))
            self._range = narrowed if narrowed[0] <= narrowed[1] else (least, most)
            least, most = round(self._range[0]), round(self._range[1])
        if known is not None and known.source == NTP:
            return
        offset = wall_offset if least <= wall_offset <= most else (least + most) // 2
        if known is None or abs(known.offset_ms - offset) >= FINE_MS:
            self._keep(known, offset, SERVER)

    def _learn_from_machine(self) -> None:
        offset_ms = self._wall_ms() - self._boot_ms()
        with self._lock:
            known = self._boots.get(self._boot_id)
        if known is None or known.source != NTP or abs(known.offset_ms - offset_ms) >= STEP_MS:
            self._keep(known, offset_ms, NTP)

    def _keep(self, known: Boot | None, offset_ms: int, source: str) -> None:
        with self._lock:
            self._boots.pop(self._boot_id, None)
            self._boots[self._boot_id] = Boot(offset_ms, source)
            self._boots = dict(list(self._boots.items())[-BOOTS_KEPT:])
            try:
                self._disk.replace(self._path, msgspec.json.encode(self._boots), "boots")
            except OSError as error:
                log.warning("the time of this boot cannot be kept", action="boots_failed", error=error)
        log.info(
            "the clock is right",
            action="clock_known",
            source=source,
            stepped_ms=None if known is None else offset_ms - known.offset_ms,
        )

    def _wall_ms(self) -> int:
        return milliseconds(self._clock.wall())

    def _boot_ms(self) -> int:
        return milliseconds(self._clock.boottime())
