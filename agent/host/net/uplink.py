"""The connection in use, and what is known of it: looked at once a second at most, its hints asked for beside it."""

import threading
from collections.abc import Callable
from typing import NamedTuple

from agent.host.net import bus
from agent.host.net.network import CELLULAR, Network, Route

POLL_SECONDS = 1.0
KIND_SECONDS = 10.0
"""How often it is looked what kind of connection the same routes lead through."""
HINT_SECONDS = 30.0
"""How old a word of NetworkManager or ModemManager may be; it is asked again at once when the route changes."""


class Uplink(NamedTuple):
    """What leads to the network."""

    kind: str | None = None
    """``ethernet``, ``wifi`` or ``cellular``; None: there is none, or it cannot be told."""
    metered: bool | None = None
    """None: there is no connection."""
    roaming: bool | None = None
    """None: not known, or no mobile one."""
    interface: str | None = None


NONE = Uplink()


class Uplinks:
    """Knows the connection of the preferred default route; thread-safe, never waits for anybody.

    ``metered`` and ``roaming`` are hints: until one comes a mobile connection is metered and does not roam.
    """

    def __init__(
        self,
        network: Network,
        monotonic: Callable[[], float],
        *,
        metered: Callable[[], bool | None] = bus.metered,
        roaming: Callable[[str], bool | None] = bus.roaming,
    ) -> None:
        self._network = network
        self._monotonic = monotonic
        self._ask_metered, self._ask_roaming = metered, roaming
        self._lock = threading.Lock()
        self._looked_at = self._asked_at = self._kind_due = float("-inf")
        self._found: tuple[str, str] | None = None
        """Interface and kind of the connection."""
        self._routes: tuple[Route, ...] = ()
        self._said: tuple[bool | None, bool | None] = (None, None)
        self._asking = False
        self._now = NONE

    def now(self) -> Uplink:
        """Return the connection in use."""
        now = self._monotonic()
        with self._lock:
            if now - self._looked_at >= POLL_SECONDS:
                self._looked_at = now
                self._look(now)
            return self._now

    def _look(self, now: float) -> None:
        routes = tuple(self._network.default_routes())
        if routes != self._routes:
            self._routes, self._said, self._asked_at = routes, (None, None), float("-inf")
            self._kind_due = float("-inf")
        if now >= self._kind_due:
            self._kind_due = now + KIND_SECONDS
            self._found = self._network.in_use(routes)
        if self._found is None:
            self._now = NONE
            return
        interface, kind = self._found
        if now - self._asked_at >= HINT_SECONDS and not self._asking:
            self._asked_at, self._asking = now, True
            arguments = (interface, kind, routes)
            threading.Thread(target=self._ask, args=arguments, name="network hints", daemon=True).start()
        metered, roaming = self._said
        costs = kind == CELLULAR if metered is None else metered
        self._now = Uplink(kind, costs, roaming, interface)

    def _ask(self, interface: str, kind: str, routes: tuple[Route, ...]) -> None:
        said = (self._ask_metered(), self._ask_roaming(interface) if kind == CELLULAR else None)
        with self._lock:
            self._asking = False
            if routes == self._routes:
                self._said = said
                self._looked_at = float("-inf")
