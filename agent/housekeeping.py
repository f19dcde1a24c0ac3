"""What is done beside recording and delivering: reconcile, prune, watch the clock and the index, note the downtime."""

import sqlite3
import threading
from datetime import UTC, datetime

from agent.log import get_logger
from agent.parts import Parts
from agent.recording.clock import Instant
from agent.recording.ledger import Cause, Gap, read_gaps
from agent.recording.triggers import Schedule
from agent.recording.truetime import UNSYNCHRONIZED

log = get_logger(__name__)

LOOK_SECONDS = 5.0
"""How often it looks whether something is to be done."""
SWEEP_SECONDS = 60.0
"""How often what is old is pruned."""


class Housekeeping:
    """Runs in a thread of its own, so that recording never waits for it; a disk that fails is tried again."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._began = parts.now()
        self._first_sequence = parts.outbox.last_sequence
        self._swept_at: float | None = None
        self.settled = threading.Event()
        """Set once files and index have been brought together."""

    def run(self, stopping: threading.Event) -> None:
        """Work until ``stopping`` is set."""
        self._parts.outbox.store.unsettled.set()
        while not stopping.is_set():
            try:
                self._turn(stopping)
            except (OSError, sqlite3.Error) as error:
                log.error(
                    "the disk or the index failed; tried again", action="housekeeping_failed", error=error
                )
                stopping.wait(LOOK_SECONDS)
            else:
                self._parts.outbox.store.unsettled.wait(LOOK_SECONDS)

    def wake(self) -> None:
        """Let ``run`` notice at once that it shall stop."""
        self._parts.outbox.store.unsettled.set()

    def _turn(self, stopping: threading.Event) -> None:
        parts = self._parts
        parts.outbox.store.check_in_place()
        if parts.outbox.store.unsettled.is_set():
            parts.outbox.store.unsettled.clear()
            try:
                parts.reconcile(stopping.is_set)
            except BaseException:
                parts.outbox.store.unsettled.set()
                raise
            if not self.settled.is_set() and not stopping.is_set():
                self._note_downtime()
                self.settled.set()
        parts.truetime.state()
        parts.credentials.notice()
        now = parts.clock.monotonic()
        if self._swept_at is None or now - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = now
            parts.retention.sweep()

    def _note_downtime(self) -> None:
        """Write into the ledger what was not recorded while the agent, or the machine, was off."""
        mode = self._parts.config.recording.mode
        if self._close_what_was_open():
            return
        since = self._recorded_until() if mode != "manual" else None
        if since is None:
            return
        if mode == "schedule":
            self._note_missed_windows(since)
            return
        milliseconds = self._parts.truetime.apart_ms(since, self._began)
        if milliseconds is None or milliseconds > 0:
            self._parts.coverage.write(Gap(Cause.NOT_RUNNING, since, self._began, milliseconds))

    def _close_what_was_open(self) -> bool:
        """End a gap that an earlier run had open when it was killed: nothing was recorded until now in any case."""
        for gap in reversed(read_gaps(self._parts.state.path)):
            is_open = gap.end is None and gap.milliseconds is None
            length = self._parts.truetime.apart_ms(gap.start, self._began) if is_open else None
            if is_open and (gap.start.boot_id != self._began.boot_id or (length or 0) > 0):
                self._parts.coverage.write(Gap(gap.cause, gap.start, self._began, length))
                return True
        return False

    def _note_missed_windows(self, since: Instant) -> None:
        """Note the windows of the schedule that were open meanwhile; the calendar needs a right clock at both ends."""
        truetime = self._parts.truetime
        since, until = truetime.corrected(since), truetime.corrected(self._began)
        if UNSYNCHRONIZED in {since.clock, until.clock}:
            return
        schedule = Schedule(self._parts.config.recording, self._parts.clock.wall)
        for begin, end in schedule.windows_between(_moment(since), _moment(until)):
            begin_ms, end_ms = (round(moment.timestamp() * 1000) for moment in (begin, end))
            start = Instant(begin_ms, since.boot_id, since.boot_ms + begin_ms - since.wall_ms, since.clock)
            stop = Instant(end_ms, until.boot_id, until.boot_ms + end_ms - until.wall_ms, until.clock)
            self._parts.coverage.write(Gap(Cause.NOT_RUNNING, start, stop, end_ms - begin_ms))

    def _recorded_until(self) -> Instant | None:
        """Return the end of the newest sample of an earlier run, or of a gap that run has noted after it."""
        entry = self._parts.outbox.store.newest_continuous(self._first_sequence)
        if entry is None:
            return None
        start, length = entry.started, entry.duration_ms
        until = Instant(start.wall_ms + length, start.boot_id, start.boot_ms + length, start.clock)
        for gap in read_gaps(self._parts.state.path):
            known = gap.end if gap.end is not None and gap.start != self._began else None
            if known is not None and (self._parts.truetime.apart_ms(until, known) or 0) > 0:
                after_start = (self._parts.truetime.apart_ms(known, self._began) or 0) >= 0
                until = known if after_start else until
        return until


def _moment(instant: Instant) -> datetime:
    return datetime.fromtimestamp(instant.wall_ms / 1000, tz=UTC)
