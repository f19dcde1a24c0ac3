"""Connecting to a host that has addresses of both families, one of which may lead nowhere.

A broken IPv6 costs the connect time-out at every connection. So one family gets a short time, then the other is
tried, and which of them answered is remembered for a while.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore

REMEMBERED_SECONDS = 600.0
MOST_REMEMBERED = 64


class PatientBackend(httpcore.SyncBackend):
    """A network backend that gives the first family ``short`` seconds where there is another."""

    def __init__(
        self,
        short: float,
        *,
        resolve: Callable[..., list[Any]] = socket.getaddrinfo,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._short = short
        self._resolve = resolve
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._worked: dict[str, tuple[int, float]] = {}

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to one of the addresses of ``host``; ``timeout`` is for each of them.

        Raises:
            httpcore.ConnectError, httpcore.ConnectTimeout: none of them answered.
        """
        options = list(socket_options or [])
        families = self._addresses(host, port)
        error: Exception | None = None
        for timeouts in self._rounds(families, timeout):
            for family, seconds in timeouts:
                for address in families[family]:
                    try:
                        stream = self._connect(address, port, seconds, local_address, options)
                    except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                        error = failed
                    else:
                        self._remember(host, family)
                        return stream
        raise error or httpcore.ConnectError("the host has no address")

    def _connect(
        self, address: str, port: int, timeout: float | None, local_address: str | None, options: list[Any]
    ) -> httpcore.NetworkStream:
        return super().connect_tcp(address, port, timeout, local_address, options)

    def _addresses(self, host: str, port: int) -> dict[int, list[str]]:
        """Return the addresses of a host by family, the one that is tried first in front."""
        try:
            found = self._resolve(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        families: dict[int, list[str]] = {}
        for family, _kind, _protocol, _name, address in found:
            families.setdefault(family, []).append(str(address[0]))
        known = self._remembered(host)
        return dict(sorted(families.items(), key=lambda item: item[0] != known))

    def _rounds(
        self, families: dict[int, list[str]], timeout: float | None
    ) -> list[list[tuple[int, float | None]]]:
        """Return in which order families are tried, and for how long: shortly, the others, and then for longer."""
        order = list(families)
        if len(order) < 2 or (timeout is not None and timeout <= self._short):  # noqa: PLR2004 - two families
            return [[(family, timeout) for family in order]]
        first, *others = order
        return [[(first, self._short)], [(family, timeout) for family in others], [(first, timeout)]]

    def _remembered(self, host: str) -> int | None:
        with self._lock:
            family, at = self._worked.get(host, (None, 0.0))
            return family if self._monotonic() - at <= REMEMBERED_SECONDS else None

    def _remember(self, host: str, family: int) -> None:
        with self._lock:
            self._worked.pop(host, None)
            self._worked[host] = (family, self._monotonic())
            while len(self._worked) > MOST_REMEMBERED:
                del self._worked[next(iter(self._worked))]
