"""Over which connections the owner lets recordings go (``sync.enabled_connections``, ``sync.allow_roaming``)."""

import contextlib
from collections.abc import Callable, Iterator

from agent.config.schema import SyncConfig
from agent.errors import StillWaiting
from agent.hints import typed
from agent.host.connection import Connection
from agent.status.board import Waiting

ROAMING = "the modem roams, and sync.allow_roaming is false"


class NetworkForbidden(StillWaiting):
    """The connection in use is none over which the owner lets recordings go."""

    def __init__(self, waiting: Waiting) -> None:
        super().__init__(
            f"nothing is sent over this connection ({waiting.reason}); "
            f"{typed('sync --any-network')} does it all the same"
        )
        self.waiting = waiting


class NetworkRules:
    """What the owner's networks say to sending now."""

    def __init__(self, settings: SyncConfig, connection: Callable[[], Connection]) -> None:
        self._settings = settings
        self._connection = connection
        self._ignored = False

    @contextlib.contextmanager
    def ignored_if(self, by_a_person: bool) -> Iterator[None]:
        """Let everything pass meanwhile where a person wants it so; for whoever drains."""
        self._ignored = by_a_person
        try:
            yield
        finally:
            self._ignored = False

    @property
    def connection(self) -> Connection:
        """The connection in use."""
        return self._connection()

    def obstacle(self) -> Waiting | None:
        """Return why no recording may go now; None when it may, and where no connection is known."""
        if self._ignored:
            return None
        connection, allowed = self._connection(), self._settings.enabled_connections
        if connection.kind is not None and connection.kind not in allowed:
            wanted = " or ".join(allowed) or "no network"
            return Waiting(f"waits for {wanted}, and is connected by {connection.kind}")
        return Waiting(ROAMING) if self.is_roaming_forbidden else None

    def problem(self) -> NetworkForbidden | None:
        """Return the same as an error."""
        obstacle = self.obstacle()
        return None if obstacle is None else NetworkForbidden(obstacle)

    @property
    def is_roaming_forbidden(self) -> bool:
        """Whether not even a heartbeat may go: the modem roams, and the owner does not allow it."""
        return bool(self._connection().roaming) and not self._settings.allow_roaming
