"""What the client is given, and what it tells of time."""

from typing import NamedTuple, Protocol


class Token(Protocol):
    """The device token, kept out of every ``repr``."""

    def reveal(self) -> str:
        """Return the token itself."""


class ServerDate(NamedTuple):
    """A ``Date`` header of the API host, and when it arrived; all in seconds."""

    server: float
    """Unix time; the header counts whole seconds, so the true time was up to one second later."""
    wall: float
    """Our wall clock on arrival."""
    monotonic: float
    """Our monotonic clock on arrival."""
    round_trip: float
    """How long the call took: the header may be that much older than its arrival."""
