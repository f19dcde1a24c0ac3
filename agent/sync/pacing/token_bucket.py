"""How many calls this device allows itself, whatever the server says (``sync.calls_per_minute``)."""

from collections.abc import Callable

MINUTE = 60.0


class TokenBucket:
    """A token bucket: ``per_minute`` calls a minute, and a burst of the same size. Not thread-safe."""

    def __init__(self, per_minute: int, monotonic: Callable[[], float]) -> None:
        self._size = float(per_minute)
        self._monotonic = monotonic
        self._tokens = self._size
        self._at = monotonic()

    def wait(self) -> float:
        """Return the seconds until the next call may be made, 0 when it may be made now."""
        self._refill()
        missing = 1.0 - self._tokens
        return missing * MINUTE / self._size if missing > _ALMOST_NOTHING else 0.0

    def take(self) -> None:
        """Count a call; one that could not wait (after a command) may leave the bucket in debt, of a minute at most."""
        self._refill()
        self._tokens = max(self._tokens - 1.0, -self._size)

    def _refill(self) -> None:
        now = self._monotonic()
        self._tokens = min(self._size, self._tokens + (now - self._at) * self._size / MINUTE)
        self._at = now


_ALMOST_NOTHING = 1e-6
"""What rounding may leave missing after a wait of exactly the right length."""
