"""What the client is given, and what it tells of time."""

from typing import NamedTuple, Protocol


class Token(Protocol):
    """The device token, kept out of every ``repr``."""

    def reveal(self) -> str:
        """Return the token itself."""


class ApiSettings(Protocol):
    """What the client needs of the configuration's ``[api]``."""

    @property
    def base_url(self) -> str:
        """Where the API lives, such as ``https://api.bota.dev/v1``."""

    @property
    def content_type(self) -> str:
        """Sent on the PUT where the API names none."""

    @property
    def ca_file(self) -> str:
        """A PEM file that takes the place of the system's CA store; empty for the system's."""


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
