"""A connection that can be closed without an answer, which ASGI alone has no word for."""

import asyncio
import contextlib
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from agent.sandbox.web.answers import DROP_EXTENSION


class DroppableConnection(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, with the ASGI extension ``sandbox.drop``."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state=app_state, _loop=_loop)
        served = self.app

        async def droppable(scope: Scope, receive: Receive, send: Send) -> None:
            scope["extensions"] = {DROP_EXTENSION: self.drop}
            # Cancelled only when the server ends, with the connection cut: nobody waits for the answer.
            with contextlib.suppress(asyncio.CancelledError):
                await served(scope, receive, send)

        self.app = droppable

    def drop(self) -> None:
        """Close the connection at once: nothing that waits to be sent is sent."""
        if self.cycle is not None:
            # Otherwise uvicorn takes the missing answer for a crash and tries to send a 500.
            self.cycle.disconnected = True
        self.transport.abort()
