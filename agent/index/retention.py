"""How long delivered recordings are kept. Undelivered ones give way to the recorder alone."""

from collections.abc import Callable, Iterator

from agent.clock import Instant
from agent.config.schema import StorageConfig
from agent.host.storage import MEGABYTE, disk_usage
from agent.index.outbox import Outbox
from agent.log import get_logger
from agent.outbox.entry import Entry
from agent.timing.time_sync import UNSYNCHRONIZED

log = get_logger(__name__)

HOUR_MS = 3_600_000


class Retention:
    """Prunes what was delivered, by age and by room; raises OSError and sqlite3.Error as disk and SQLite give them."""

    def __init__(self, outbox: Outbox, settings: StorageConfig, now: Callable[[], Instant]) -> None:
        self._outbox = outbox
        self._settings = settings
        self._now = now
        self._folder = outbox.files.root

    def sweep(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Prune what is old enough, and let delivered recordings give way where room is short, confirmed ones first.

        ``stopped`` is asked before each.
        """
        for entry in self._expired():
            if stopped():
                return
            self._outbox.prune(entry)
        for verified in (True, False):
            delivered = self._outbox.store.delivered(verified=verified)
            while (
                not stopped() and self._missing_bytes() > 0 and (oldest := next(delivered, None)) is not None
            ):
                self._outbox.prune(oldest)

    def _expired(self) -> Iterator[Entry]:
        """Yield what was delivered long enough ago, as far as both ends were measured by a right clock."""
        now = self._now()
        if now.clock == UNSYNCHRONIZED:
            return
        for verified, hours in (
            (True, self._settings.keep_sent_hours),
            (False, self._settings.keep_unverified_hours),
        ):
            yield from self._outbox.store.delivered(verified=verified, by=now.wall_ms - hours * HOUR_MS)

    def _missing_bytes(self) -> int:
        """Return how many bytes have to go; not more than 0 when there is room."""
        missing = self._settings.min_free_mb * MEGABYTE - disk_usage(self._folder).free
        if self._settings.max_mb:
            used = self._outbox.store.total_bytes()
            missing = max(missing, used - self._settings.max_mb * MEGABYTE)
        return missing
