"""What is done beside delivering: reconcile, adopt, prune, watch the clock, the index and the token."""

import os
import sqlite3
import threading
from collections.abc import Callable

from agent.deliverer.wiring import DelivererWiring
from agent.hints import typed
from agent.index.arrivals import arrivals_of
from agent.index.table.database import is_of_the_disk
from agent.log import Failures, get_logger
from agent.small_file import OF_THE_DISK

log = get_logger(__name__)

POLL_SECONDS = 5.0
"""How often it looks whether something is to be done."""
SWEEP_SECONDS = 60.0
"""How often what is old is pruned."""


class Housekeeping:
    """Runs in a thread of its own; a disk that fails is tried again.

    ``progress`` is called at every turn, and in a long one for each recording: a thousand may take an hour.
    ``is_suspect`` tells that somebody else has trouble: then the disk is asked whether it can be written to.
    """

    def __init__(
        self,
        wiring: DelivererWiring,
        wait: Callable[[float], None] | None = None,
        progress: Callable[[], None] = lambda: None,
        is_suspect: Callable[[], bool] = lambda: False,
    ) -> None:
        self._wiring = wiring
        self._wait = wait or (lambda seconds: wiring.outbox.store.needs_reconcile.wait(seconds) and None)
        self._progress = progress
        self._is_suspect = is_suspect
        self._swept_at: float | None = None
        self._arrivals = arrivals_of(wiring.outbox, wiring.disk)
        self.failing: str | None = None
        """Why the disk or the index fails, while it does."""
        self.disk_fails = False
        """Whether it is the disk itself: nothing is kept open on it."""
        self._days_failures = Failures(log)
        self.reconciled = threading.Event()
        """Set once files and index have been brought together."""

    def run(self, stopping: threading.Event) -> None:
        """Work until ``stopping`` is set."""
        self._wiring.outbox.store.needs_reconcile.set()
        while not stopping.is_set():
            self._progress()
            try:
                self.turn(stopping)
            except (OSError, sqlite3.Error) as error:
                self.failing = f"the disk or the index fails ({error}); {typed('doctor')} looks for the cause"
                self.disk_fails = is_of_the_disk(error)
                if self.disk_fails:
                    self._wiring.outbox.store.let_go()
                log.error(
                    "the disk or the index failed; tried again", action="housekeeping_failed", error=error
                )
                stopping.wait(POLL_SECONDS)
            else:
                self.failing = None
                self.disk_fails = False
                self._wait(POLL_SECONDS)

    def poll(self) -> None:
        """Adopt now what has arrived, once files and index have been brought together."""
        if self.reconciled.is_set():
            self._arrivals.poll()

    def _close_days(self) -> None:
        """Write the lines of days that are over; a file of figures that cannot be written holds nothing back."""
        try:
            self._wiring.days.close()
        except OSError as error:
            if error.errno in OF_THE_DISK:
                raise
            self._days_failures.failed(
                "the line of a day cannot be written; tried again", action="days_failed", error=error
            )
        else:
            self._days_failures.ended()

    def turn(self, stopping: threading.Event) -> None:
        """Do what is due."""
        wiring = self._wiring

        def ends() -> bool:
            self._progress()
            return stopping.is_set()

        if self._is_suspect():
            os.utime(wiring.state.path)  # a write that changes nothing: a read-only disk refuses it
        wiring.outbox.store.check_in_place()
        if wiring.outbox.store.needs_reconcile.is_set():
            wiring.outbox.store.needs_reconcile.clear()
            self._arrivals.begin()
            try:
                wiring.reconcile(ends)
            except BaseException:
                wiring.outbox.store.needs_reconcile.set()
                raise
            if not stopping.is_set():
                self._close_days()  # what waited at a midnight that was slept through, before it is delivered
                self.reconciled.set()
        else:
            self._arrivals.poll(ends)
        wiring.time.state()
        wiring.time.tell()
        wiring.credentials.note_token()
        if self.reconciled.is_set():
            self._close_days()
        now = wiring.clock.monotonic()
        if self._swept_at is None or now - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = now
            wiring.retention.sweep(ends)
            wiring.outbox.store.forget_pauses()
