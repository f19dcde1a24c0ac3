"""How long the backlog will take, by how long the newest deliveries took."""

from collections.abc import Callable

from agent.config.schema import SyncConfig
from agent.sync.rules.data_usage import MEGABYTE
from agent.sync.rules.off_peak import OffPeak

NEWEST = 0.2
"""How much of the average the newest delivery is."""
DAY = 86_400.0


class Pace:
    """The average of the seconds from one delivery to the next while there was something to deliver; waits included."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._since = monotonic()
        self.seconds_each: float | None = None

    def begins(self) -> None:
        """Say that delivering begins after a wait."""
        self._since = self._monotonic()

    def delivered(self) -> float:
        """Take note of a delivery; return the average."""
        now = self._monotonic()
        took, self._since = now - self._since, now
        known = self.seconds_each
        self.seconds_each = took if known is None else known + NEWEST * (took - known)
        return self.seconds_each


def drain_seconds(
    pending: int,
    pending_bytes: int,
    seconds_each: float | None,
    recording_every: float | None,
    settings: SyncConfig,
    *,
    is_metered: bool,
) -> float | None:
    """Return about how long until nothing waits; None when that is not known, or when it would never be.

    ``recording_every``: seconds from one new recording to the next, None while none is made. ``is_metered``: the
    connection in use costs.
    """
    if pending == 0:
        return 0.0
    if seconds_each is None:
        return None
    open_part = OffPeak(settings.off_peak_hours).part_of_the_day if settings.off_peak_hours else 1.0
    each = seconds_each / open_part
    for limit_mb in (settings.daily_total_limit_mb, settings.daily_data_limit_mb if is_metered else 0):
        if limit_mb:
            each = max(each, pending_bytes / pending / (limit_mb * MEGABYTE) * DAY)
    if recording_every is None:
        return pending * each
    gains = 1 - each / recording_every
    return pending * each / gains if gains > 0 else None
