"""What time it really is, on a machine that may boot with yesterday's clock.

The boot clock counts right from the start; what is unknown is the wall time at which it stood at zero: the *offset* of
a boot. It is learnt from the wall clock once NTP has set it, or from the ``Date`` of an answer of the API, and kept in
``boots.json``, so that recordings of an earlier boot can be dated later. This process learns and keeps; others read
(``knowntime``).
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from agent.bounds import is_plausible
from agent.clock import NTP, SERVER, UNSYNCHRONIZED, Clock, milliseconds
from agent.disk import Disk
from agent.json_file import JsonFile
from agent.log import get_logger
from agent.timing.known_time import (
    BOOTS,
    CLOCK,
    CLOCK_FILE,
    EARLIEST_MS,
    FILE,
    FINE_MS,
    LATEST_MS,
    Boot,
    ClockDocument,
    KnownTime,
)

log = get_logger(__name__)

__all__ = ["NTP", "SERVER", "UNSYNCHRONIZED", "Boot", "TimeSync"]

STEP_MS = 2000
"""A change of NTP's offset larger than this is a step of the clock, and kept."""
HEADER_MS = 1000
"""A ``Date`` header counts whole seconds: so much later may its answer have been made."""
APART_MS = 30_000
"""So far apart two answers must be that confirm each other."""
TELLING_MS = 3000
"""Only an answer that came within two seconds can be confirmed by this machine's own clock."""
SLACK_MS = 2000
"""How far the clocks of a server's machines may be apart."""
BOOTS_KEPT = 50


class Claim(NamedTuple):
    """The range of offsets that an answer leaves, and when by the boot clock it arrived; all in milliseconds."""

    at_ms: int
    least: int
    most: int

    def agrees(self, other: "Claim") -> bool:
        """Whether two answers say the same."""
        return self.least <= other.most + SLACK_MS and other.least <= self.most + SLACK_MS

    def narrowed(self, other: "Claim") -> "Claim":
        """Return what both leave; what this one leaves where that is nothing."""
        both = Claim(self.at_ms, max(self.least, other.least), min(self.most, other.most))
        return both if both.least <= both.most else self


class TimeSync(KnownTime):
    """Learns the offset of this boot, and keeps it and those of earlier ones; thread-safe."""

    def __init__(
        self, folder: Path, disk: Disk, clock: Clock, boot_id: str, machine: Callable[[], str | None]
    ) -> None:
        super().__init__(clock, boot_id, machine)
        self._file = JsonFile(folder / FILE, BOOTS, disk, "boots")
        self._told = JsonFile(folder / CLOCK_FILE, CLOCK, disk, "clock")
        self._lock = threading.Lock()
        self.read_boots(folder)
        self._learnt_range: Claim | None = None
        """Within which the server's answers put the offset of this boot."""
        self._doubted: Claim | None = None
        """The first of the answers that say something else, and that nothing has confirmed yet."""

    def state(self) -> str:
        """Return ``ntp``, ``server`` or ``unsynchronized``, for the time that ``now_ms`` gives."""
        if self._machine() == NTP:
            self._learn_from_machine()
            return NTP
        with self._lock:
            return UNSYNCHRONIZED if self._boot_id not in self._boots else SERVER

    def tell(self) -> None:
        """Tell the recorder what is known of this boot, unless it was told; OSError as the disk gives it."""
        with self._lock:
            boot = self._boots.get(self._boot_id)
            if boot is None or not EARLIEST_MS <= boot.offset_ms <= LATEST_MS:
                return
            said = ClockDocument(self._boot_id, boot.offset_ms, "ntp" if boot.source == NTP else "server")
            if self._told.load_or_none() != said:
                self._told.replace(said)

    def _known(self, boot_id: str) -> Boot | None:
        self.state()
        with self._lock:
            return self._boots.get(boot_id)

    def learn_from_server(self, server: float, monotonic: float, round_trip: float) -> None:
        """Take a ``Date`` header: unix seconds, when it arrived, and how long the call took.

        It leaves a range of offsets: the answer was made within the round trip, and within a second of its header. It
        counts once a second answer, at least ``APART_MS`` later, says the same, or at once where this machine's own
        clock does; what was learnt so is given up again in the same way. Ranges that agree narrow each other.
        """
        if self._machine() == NTP or not is_plausible(server):
            return
        arrived_ms = self._boot_ms() - milliseconds(self._clock.monotonic() - monotonic)
        least = milliseconds(server) - arrived_ms
        heard = Claim(arrived_ms, least, least + HEADER_MS + milliseconds(round_trip))
        wall_offset = self._machine_offset_ms()
        with self._lock:
            known = self._boots.get(self._boot_id)
            if known is not None and known.source == NTP:
                return
            learnt = self._learnt(heard, known, wall_offset)
        if learnt is None:
            return
        middle = (learnt.least + learnt.most) // 2
        offset = wall_offset if learnt.least <= wall_offset <= learnt.most else middle
        if known is None or abs(known.offset_ms - offset) >= FINE_MS:
            self._keep(known, offset, SERVER)

    def _learnt(self, heard: "Claim", known: Boot | None, wall_offset: int) -> "Claim | None":
        """Return within which range the offset is after an answer; None while it is one answer against all."""
        if known is not None and self._learnt_range is None:
            self._learnt_range = Claim(
                heard.at_ms, known.offset_ms, known.offset_ms
            )  # learnt before a restart
        if known is not None and self._learnt_range is not None and heard.agrees(self._learnt_range):
            self._learnt_range = heard.narrowed(self._learnt_range)
        elif heard.least <= wall_offset <= heard.most <= heard.least + TELLING_MS:
            self._learnt_range = heard
        elif self._doubted is None or not heard.agrees(self._doubted):
            self._doubted = heard
            return None
        elif heard.at_ms - self._doubted.at_ms < APART_MS:
            return None
        else:
            self._learnt_range = heard.narrowed(self._doubted)
        self._doubted = None
        return self._learnt_range

    def _learn_from_machine(self) -> None:
        offset_ms = self._machine_offset_ms()
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
                self._file.replace(self._boots)
            except OSError as error:
                log.warning("the time of this boot cannot be kept", action="boots_failed", error=error)
        log.info(
            "the clock is right",
            action="clock_known",
            source=source,
            stepped_ms=None if known is None else offset_ms - known.offset_ms,
        )
