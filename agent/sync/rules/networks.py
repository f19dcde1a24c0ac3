"""Over which connections the owner lets recordings go (``sync.enabled_connections``, ``sync.allow_roaming``)."""

import contextlib
from collections.abc import Callable, Iterator

from agent.config.schema import SyncConfig
from agent.hints import typed
from agent.host.net.uplink import Uplink
from agent.sync.rules.waits_by_rule import WaitsByRule

ROAMING = "the modem roams, and sync.allow_roaming is false"


class NetworkForbidden(WaitsByRule):
    """The connection in use is none over which the owner lets recordings go."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            reason,
            f"{typed('sync --any-network')} sends all the same",
            message=f"nothing is sent over this connection ({reason})",
        )


class NetworkRules:
    """What the owner's networks say to sending now."""

    def __init__(self, settings: SyncConfig, uplink: Callable[[], Uplink]) -> None:
        self._settings = settings
        self._uplink = uplink
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
    def uplink(self) -> Uplink:
        """The connection in use."""
        return self._uplink()

    def problem(self) -> NetworkForbidden | None:
        """Return why no recording may go now; None when it may, and where no connection is known."""
        if self._ignored:
            return None
        uplink, allowed = self._uplink(), self._settings.enabled_connections
        if uplink.kind is not None and uplink.kind not in allowed:
            wanted = " or ".join(allowed) or "no network"
            return NetworkForbidden(f"waits for {wanted}, and is connected by {uplink.kind}")
        return NetworkForbidden(ROAMING) if self.is_roaming_forbidden else None

    @property
    def is_roaming_forbidden(self) -> bool:
        """Whether not even a heartbeat may go: the modem roams, and the owner does not allow it."""
        return bool(self._uplink().roaming) and not self._settings.allow_roaming
