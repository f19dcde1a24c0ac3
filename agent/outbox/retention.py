"""How long delivered recordings are kept, and what gives way when the card is full (design: storage).

Order of giving way: delivered and verified, delivered and unverified, each oldest first; then, only with
``when_full = "drop_oldest"``, what is not delivered, oldest first, held ones last, each noted in the ledger.
"""

import threading
from collections.abc import Callable, Iterator
from itertools import chain

import structlog

from agent.config import StorageConfig
from agent.host.ballast import Ballast
from agent.host.storage import MEGABYTE, room
from agent.outbox.entry import Entry, Status
from agent.outbox.outbox import Outbox
from agent.recording.clock import Instant
from agent.recording.coverage import Coverage
from agent.recording.ledger import Cause
from agent.recording.truetime import UNSYNCHRONIZED

log = structlog.get_logger()

HOUR_MS = 3_600_000


class Retention:
    """Prunes by age and by room; thread-safe. Raises OSError and sqlite3.Error as the disk and SQLite give them."""

    def __init__(
        self,
        outbox: Outbox,
        settings: StorageConfig,
        ballast: Ballast,
        coverage: Coverage,
        now: Callable[[], Instant],
    ) -> None:
        self._outbox = outbox
        self._settings = settings
        self._ballast = ballast
        self._coverage = coverage
        self._now = now
        self._folder = outbox.files.outbox.parent
        self._lock = threading.Lock()

    @property
    def margin_mb(self) -> int:
        """What must be free beyond ``min_free_mb`` before a full card counts as free again."""
        return max(1, self._settings.min_free_mb // 20)

    def sweep(self) -> None:
        """Prune what is old enough, make room where it is short, and take the ballast in again."""
        with self._lock:
            for entry in self._expired():
                self._outbox.prune(entry)
            self._make_room(0)
            if self._missing_bytes(self.margin_mb) <= 0:
                self._ballast.take_in()

    def problem(self, was_full: bool) -> str | None:
        """Return a sentence when there is no room to record, after making what room may be made; else None."""
        margin = self.margin_mb if was_full else 0
        try:
            if self._missing_bytes(margin) <= 0:
                return None
            with self._lock:
                self._make_room(margin)
                if self._missing_bytes(margin) <= 0:
                    return None
            free = room(self._folder).free_mb
        except OSError as error:
            return f"the state directory {self._folder} cannot be used: {error.strerror}; mount or replace the disk"
        self._ballast.give_up()
        limit = f"storage.min_free_mb asks for {self._settings.min_free_mb}"
        if self._settings.max_mb and self._used_bytes() >= self._settings.max_mb * MEGABYTE:
            limit = f"storage.max_mb allows {self._settings.max_mb} for recordings"
        return (
            f"the disk of {self._folder} is full: {free} MB are free and {limit}; "
            "deliver or delete recordings, or use a larger card"
        )

    def _expired(self) -> Iterator[Entry]:
        """Yield what was delivered long enough ago, as far as both ends were measured by a right clock."""
        now = self._now()
        if now.clock == UNSYNCHRONIZED:
            return
        for entry in self._outbox.store.delivered_before(now.wall_ms - self._shortest_hours() * HOUR_MS):
            hours = self._settings.keep_sent_hours if entry.verified else self._settings.keep_unverified_hours
            known = entry.completed_clock not in {None, UNSYNCHRONIZED}
            if known and now.wall_ms - (entry.completed_ms or 0) >= hours * HOUR_MS:
                yield entry

    def _shortest_hours(self) -> int:
        return min(self._settings.keep_sent_hours, self._settings.keep_unverified_hours)

    def _make_room(self, margin_mb: int) -> None:
        if self._missing_bytes(margin_mb) <= 0:
            return
        store = self._outbox.store
        delivered = chain(store.delivered(verified=True), store.delivered(verified=False))
        for entry in delivered:
            self._outbox.prune(entry)
            if self._missing_bytes(margin_mb) <= 0:
                return
        if self._settings.when_full != "drop_oldest":
            return
        for entry in chain(store.pending_and_parked(), store.of_status(Status.HELD)):
            self._drop(entry)
            if self._missing_bytes(margin_mb) <= 0:
                return

    def _drop(self, entry: Entry) -> None:
        self._coverage.note(Cause.DROPPED, entry.started, entry.duration_ms, entry.id)
        log.error(
            "dropped undelivered: the card is full", action="recording_dropped", id=entry.id, seq=entry.seq
        )
        self._outbox.prune(entry)

    def _missing_bytes(self, margin_mb: int) -> int:
        """Return how many bytes have to go; not more than 0 when there is room."""
        missing = (self._settings.min_free_mb + margin_mb) * MEGABYTE - room(self._folder).free
        if self._settings.max_mb:
            limit = (self._settings.max_mb - (margin_mb and 1)) * MEGABYTE
            missing = max(missing, self._used_bytes() - limit)
        return missing

    def _used_bytes(self) -> int:
        return self._outbox.store.total_bytes()
