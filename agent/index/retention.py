"""How long delivered recordings are kept, and what gives way when the card is full (design: storage).

Order of giving way: delivered and verified, delivered and unverified, each oldest first; then, only with
``when_full = "drop_oldest"``, what is not delivered, oldest first, held ones last, each noted in the ledger.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator

from agent.config import StorageConfig
from agent.host.ballast import Ballast
from agent.host.storage import MEGABYTE, room, shortage
from agent.index.outbox import Outbox
from agent.log import get_logger
from agent.outbox.entry import Entry, Status
from agent.recording.clock import Instant
from agent.recording.coverage import Coverage
from agent.recording.ledger import Cause
from agent.recording.truetime import UNSYNCHRONIZED

log = get_logger(__name__)

HOUR_MS = 3_600_000
AT_ONCE = 25
"""How many files at most give way while the recorder waits; the rest goes with its next questions."""


class Retention:
    """Prunes by age and by room; thread-safe.

    ``sweep`` raises OSError and sqlite3.Error as the disk and SQLite give them; ``problem`` raises neither.
    """

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
        for entry in self._expired():
            self._outbox.prune(entry)
        self._make_room(0)
        if self._missing_bytes(self.margin_mb) <= 0:
            self._ballast.take_in()

    def problem(self, was_full: bool) -> str | None:
        """Return a sentence when there is no room to record, after making what room may be made; else None."""
        margin = self.margin_mb if was_full else 0
        try:
            if self._missing_bytes(margin) <= 0 or self._make_room(margin, at_most=AT_ONCE):
                return None
            return self._full()
        except OSError as error:
            return f"the state directory {self._folder} cannot be used: {error.strerror}; mount or replace the disk"
        except sqlite3.Error as error:
            # Nothing can be pruned without the index; whether there is room the file system alone can say.
            log.warning("the index failed while making room", action="prune_failed", error=error)
            return shortage(self._folder, self._settings.min_free_mb)

    def _full(self) -> str:
        self._ballast.give_up()
        free = room(self._folder).free_mb
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
        for verified, hours in (
            (True, self._settings.keep_sent_hours),
            (False, self._settings.keep_unverified_hours),
        ):
            before = now.wall_ms - hours * HOUR_MS
            for entry in self._outbox.store.delivered(verified=verified):
                known = entry.completed_clock not in {None, UNSYNCHRONIZED}
                if known and (entry.completed_ms or 0) <= before:
                    yield entry

    def _make_room(self, margin_mb: int, at_most: int | None = None) -> bool:
        """Let recordings give way, ``at_most`` so many; return whether there is room, or more of it can be made."""
        for count, entry in enumerate(self._in_order_of_giving_way()):
            if count == at_most:
                return True
            with self._lock:
                if self._missing_bytes(margin_mb) <= 0:
                    return True
                self._give_way(entry)
        return self._missing_bytes(margin_mb) <= 0

    def _in_order_of_giving_way(self) -> Iterator[Entry]:
        store = self._outbox.store
        yield from store.delivered(verified=True)
        yield from store.delivered(verified=False)
        if self._settings.when_full == "drop_oldest":
            yield from store.pending_and_parked()
            yield from store.of_status(Status.HELD)

    def _give_way(self, entry: Entry) -> None:
        """Prune what is delivered, drop what is not; both may have happened, or changed, meanwhile."""
        fresh = self._outbox.store.get(entry.id)
        if fresh is None:
            return
        if fresh.status is not Status.UPLOADED:
            self._coverage.note(Cause.DROPPED, fresh.started, fresh.duration_ms, fresh.id)
            log.error(
                "dropped undelivered: the card is full",
                action="recording_dropped",
                id=fresh.id,
                seq=fresh.seq,
            )
        try:
            self._outbox.prune(fresh)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL or fresh.status is not Status.UPLOADED:
                raise
            # The index itself finds no room: files of delivered rows go first, reconciliation takes the rows.
            self._outbox.files.remove(fresh)
            self._outbox.store.unsettled.set()

    def _missing_bytes(self, margin_mb: int) -> int:
        """Return how many bytes have to go; not more than 0 when there is room."""
        missing = (self._settings.min_free_mb + margin_mb) * MEGABYTE - room(self._folder).free
        if self._settings.max_mb:
            limit = (self._settings.max_mb - (margin_mb and 1)) * MEGABYTE
            missing = max(missing, self._used_bytes() - limit)
        return missing

    def _used_bytes(self) -> int:
        return self._outbox.store.total_bytes()
