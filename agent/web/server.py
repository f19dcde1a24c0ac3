"""Runs the page: on sockets that systemd hands over, or on one of its own; gone when nobody has looked for a while."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Sequence

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.errors import AgentError
from agent.web.guard import GuardedProtocol
from agent.web.hosts import is_loopback

FIRST_DESCRIPTOR = 3
"""Of the sockets that systemd hands over (sd_listen_fds(3))."""
MOST_SOCKETS = 16
IDLE_SECONDS = 600.0
BACKLOG = 64
MOST_PORT = 65_535
HEADER_BYTES = 16_384
STOP_SECONDS = 2


def handed_over() -> list[socket.socket]:
    """Return the sockets that systemd has opened for this process; none where it was started otherwise.

    Raises:
        AgentError: what the environment says of them is not so.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    told = os.environ.get("LISTEN_FDS", "")
    try:
        if not 0 < int(told) <= MOST_SOCKETS:
            raise ValueError(told)
        return [socket.socket(fileno=FIRST_DESCRIPTOR + number) for number in range(int(told))]
    except (OSError, ValueError) as error:
        raise AgentError(
            f"the page was started with LISTEN_FDS={told[:20]!r}, and these sockets are not there",
            "start it by recorder-agent-web.socket, or by hand with --listen",
        ) from error


def opened(address: str) -> list[socket.socket]:
    """Return a socket on ``HOST:PORT``; AgentError when there can be none."""
    host, _, port = address.rpartition(":")
    try:
        if not 0 < int(port) <= MOST_PORT:
            raise ValueError(port)
        family, _, _, _, place = socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(BACKLOG)
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "it is no HOST:PORT"
        raise AgentError(
            f"the page cannot listen on {address} ({reason})", "name another one with --listen"
        ) from error
    return [listener]


def is_open(sockets: Sequence[socket.socket]) -> bool:
    """Return whether one of some sockets is reached from beyond this machine."""
    return not all(is_loopback(_host(each)) for each in sockets)


def _host(listener: socket.socket) -> str:
    name = listener.getsockname()
    return str(name[0]) if isinstance(name, tuple) else ""


def shown_address(listener: socket.socket) -> str:
    """Return where a browser finds a socket."""
    host = _host(listener)
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class Clocked:
    """Notes when somebody has asked last."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.asked = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and note the time."""
        try:
            await self._app(scope, receive, send)
        finally:
            self.asked = time.monotonic()


def serve(app: ASGIApp, sockets: list[socket.socket], idle_seconds: float | None) -> None:
    """Serve until told to stop, or until nobody has asked for ``idle_seconds``."""
    clocked = Clocked(app)
    config = uvicorn.Config(
        clocked,
        http=GuardedProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    server = uvicorn.Server(config)

    async def watch() -> None:
        if idle_seconds is None:
            return
        while (left := clocked.asked + idle_seconds - time.monotonic()) > 0:  # noqa: ASYNC110 - the end moves
            await asyncio.sleep(left)
        server.should_exit = True

    async def both() -> None:
        watching = asyncio.create_task(watch())
        try:
            await server.serve(sockets)
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    asyncio.run(both())
