"""What httpx and httpcore keep to themselves and is needed here: the only place that reaches for it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpcore
import httpx
from httpx._transports.default import map_httpcore_exceptions


def use_backend(client: httpx.Client, backend: httpcore.NetworkBackend) -> None:
    """Let a client's connections be made by ``backend``; httpx has no parameter for it (httpcore has)."""
    for pool in _pools(client):
        pool._network_backend = backend  # noqa: SLF001


def pool_for(client: httpx.Client, url: httpx.URL) -> httpcore.ConnectionPool:
    """Return the connections over which a client reaches a URL: its own, or those through a proxy.

    A client's own ``send`` goes through redirects, cookies and authentication first, which takes as long again as the
    call itself; none of them is wanted here.
    """
    transport: Any = client._transport_for_url(url)  # noqa: SLF001
    pool: httpcore.ConnectionPool = transport._pool  # noqa: SLF001
    return pool


def errors_of_httpx() -> AbstractContextManager[None]:
    """Raise what httpcore raises as the error of httpx that a client would raise."""
    return map_httpcore_exceptions()


def has_leftovers(client: httpx.Client) -> bool:
    """Whether more has come on a kept connection than was asked for: the next call would take it for its own answer.

    httpcore looks at the socket before it uses a connection again, and not at what it has read from it already.
    """
    for pool in _pools(client):
        for connection in pool.connections:
            inner: Any = connection
            while (deeper := getattr(inner, "_connection", None)) is not None:
                inner = deeper
            state = getattr(inner, "_h11_state", None)
            if state is not None and state.trailing_data[0]:
                return True
    return False


def _pools(client: httpx.Client) -> Iterator[Any]:
    """Yield the pools of a client's connections, those through a proxy too."""
    for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001
        if isinstance(transport, httpx.HTTPTransport):
            yield transport._pool  # noqa: SLF001
