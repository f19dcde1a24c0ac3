"""Whether the API's limit is too small for the fleet: nothing a device can mend, so a person must hear of it."""

from collections.abc import Callable

from agent.log import get_logger

log = get_logger(__name__)

JUDGED_SECONDS = 3600.0
"""For so long a backlog must not have shrunk, although others left us what they could."""
BACKLOG = 3
"""Fewer recordings than so many are on their way, not left behind."""


class FleetOverload:
    """Watches one device's backlog while the limit is short. Not thread-safe."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._since: float | None = None
        self._waited = 0
        self.too_small = False

    def observe(self, waiting: int, *, scarce: bool) -> None:
        """Take note of how many recordings wait, and whether the limit holds them back more than they can bear."""
        now = self._monotonic()
        if waiting == 0 or (self.too_small and waiting < self._waited / 2):
            self._since = None
            self._judge(too_small=False, waiting=waiting)
        elif self._since is None:
            self._since, self._waited = (now, waiting) if scarce else (None, waiting)
        elif now - self._since >= JUDGED_SECONDS:
            self._judge(too_small=scarce and waiting >= max(self._waited, BACKLOG), waiting=waiting)
            self._since, self._waited = now, waiting

    def _judge(self, *, too_small: bool, waiting: int) -> None:
        if too_small is self.too_small:
            return
        self.too_small = too_small
        if too_small:
            log.warning(
                "the api's rate limit is too small for the fleet; ask for a higher one, record longer segments, "
                "or send heartbeats less often",
                action="limit_too_small",
                waiting=waiting,
            )
        else:
            log.info("the api's rate limit suffices again", action="limit_suffices", waiting=waiting)
