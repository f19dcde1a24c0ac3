"""Connections that hold up nobody: so many and no more, each with a time for its request and for its answer."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

MOST_CONNECTIONS = 32
"""One more takes the place of the one that has been silent longest."""
REQUEST_SECONDS = 10.0
"""A request is whole by then, its connection may be silent no longer."""
ANSWER_SECONDS = 30.0
"""An answer is taken by then."""
LOOK_SECONDS = 1.0


class GuardedProtocol(H11Protocol):
    """uvicorn's own, with limits that it has not."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._since = self.loop.time()
        self._is_answering = False
        self._look: asyncio.TimerHandle | None = None

    @property
    def silent_since(self) -> float | None:
        """Since when nothing whole has come; None while it is answered."""
        return None if self._answers() else self._since

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Take a connection, and make room for it."""
        others = [each for each in self.connections if isinstance(each, GuardedProtocol)]
        super().connection_made(transport)
        self._since = self.loop.time()
        self._look = self.loop.call_later(LOOK_SECONDS, self._watch)
        if len(others) >= MOST_CONNECTIONS:
            silent = [each for each in others if each.silent_since is not None]
            last = min(silent, key=lambda each: each.silent_since or 0.0, default=self)
            self.connections.discard(last)  # it is lost only later, and must not be chosen twice
            last.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def _answers(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _watch(self) -> None:
        """Once a second: cut what takes too long."""
        now = self.loop.time()
        if self._answers() != self._is_answering:
            self._is_answering, self._since = self._answers(), now
        if now - self._since >= (ANSWER_SECONDS if self._is_answering else REQUEST_SECONDS):
            self.transport.abort()
            return
        self._look = self.loop.call_later(LOOK_SECONDS, self._watch)
