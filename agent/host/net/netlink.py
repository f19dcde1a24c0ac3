"""Hears that the network has changed for the better: an address, a default route or a carrier that appears.

rtnetlink(7) tells it at once; where a netlink socket is not allowed, the default routes are looked at once a second.
It is never required: what it wakes would wake by itself, only later.
"""

import contextlib
import errno
import os
import select
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from agent.host.net.network import Network
from agent.log import get_logger

log = get_logger(__name__)

POLL_SECONDS = 1.0
"""How often the default routes are looked at without netlink."""
SETTLE_SECONDS = 0.2
"""An address and its routes appear one after the other: changes are passed on after so long without more of them."""
_MOST_CHANGES = 10
"""But after so many at the latest, so that a flapping interface cannot hold them back."""

# linux/rtnetlink.h, linux/if_addr.h, linux/if.h
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE
_NEW_LINK, _DELETED_LINK = 16, 17
_NEW_ADDRESS, _DELETED_ADDRESS = 20, 21
_NEW_ROUTE, _DELETED_ROUTE = 24, 25
_IFF_LOOPBACK, _IFF_RUNNING = 0x8, 0x40
_TENTATIVE = 0x40
_TABLE_LOCAL, _UNICAST = 255, 1
_RTA_OIF, _RTA_GATEWAY = 4, 5
_IFA_ADDRESS = 1

_HEADER = struct.Struct("=LHHLL")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_ALIGN = 4


class Present(NamedTuple):
    """Something of the network that is there: a carrier, an address or a default route."""

    kind: str
    interface: int
    value: bytes = b""


class Changes:
    """Reads rtnetlink messages, and tells what is new from what is only said again (a renewed lease, say)."""

    def __init__(self) -> None:
        self._there: set[Present] = set()

    def take(self, datagram: bytes) -> bool:
        """Return whether something appeared that was not there before."""
        appeared = False
        for kind, body in _messages(datagram):
            with contextlib.suppress(struct.error):  # cut short: no changes
                appeared |= self._message(kind, body)
        return appeared

    def _message(self, kind: int, body: bytes) -> bool:
        if kind in {_NEW_LINK, _DELETED_LINK}:
            return self._link(kind, body)
        if kind in {_NEW_ADDRESS, _DELETED_ADDRESS}:
            return self._note(_address(body), there=kind == _NEW_ADDRESS)
        if kind in {_NEW_ROUTE, _DELETED_ROUTE}:
            return self._note(_default_route(body), there=kind == _NEW_ROUTE)
        return False

    def forget(self) -> None:
        """Take everything that comes for new."""
        self._there.clear()

    def _link(self, kind: int, body: bytes) -> bool:
        """An interface without a carrier has nothing: its IPv4 routes go without a word of the kernel."""
        _family, _type, index, flags, _change = _LINK.unpack_from(body)
        if flags & _IFF_LOOPBACK:
            return False
        if kind == _NEW_LINK and flags & _IFF_RUNNING:
            return self._note(Present("carrier", index), there=True)
        self._there = {present for present in self._there if present.interface != index}
        return False

    def _note(self, present: Present | None, *, there: bool) -> bool:
        if present is None:
            return False
        if not there:
            self._there.discard(present)
            return False
        is_new = present not in self._there
        self._there.add(present)
        return is_new


class NetworkWatch:
    """Calls ``on_better`` each time the network has become better, in the thread that runs ``run``.

    ``open_socket`` is a parameter for tests; an OSError from it means polling.
    """

    def __init__(
        self,
        on_better: Callable[[], object],
        *,
        network: Network,
        open_socket: Callable[[], socket.socket] | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._on_better = on_better
        self._network = network
        self._open_socket = open_socket or netlink_socket
        self._poll_seconds = poll_seconds
        self._stop_reader, self._stop_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def run(self) -> None:
        """Listen until ``stop``; where that cannot be, poll."""
        try:
            try:
                with self._open_socket() as listener:
                    self._listen(listener)
            except OSError as error:
                log.info(
                    "without netlink the routes are looked at once a second",
                    action="network_polled",
                    reason=error.strerror,
                )
                self._poll()
        finally:
            os.close(self._stop_reader)

    def stop(self) -> None:
        """Let ``run`` return."""
        with contextlib.suppress(OSError):  # it was stopped before
            os.write(self._stop_writer, b".")
            os.close(self._stop_writer)

    def _listen(self, listener: socket.socket) -> None:
        changes = Changes()
        pending = 0
        while True:
            timeout = SETTLE_SECONDS if pending else None
            readable = _readable([listener.fileno(), self._stop_reader], timeout)
            if self._stop_reader in readable:
                return
            if readable:
                pending += self._receive(listener, changes)
            if pending and (not readable or pending >= _MOST_CHANGES):
                pending = 0
                self._tell("netlink")

    def _receive(self, listener: socket.socket, changes: Changes) -> bool:
        try:
            datagram = listener.recv(65536)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            changes.forget()  # more was said than we could take in: it may have been good
            return True
        return changes.take(datagram)

    def _poll(self) -> None:
        known = set(self._network.default_routes())
        while not _readable([self._stop_reader], self._poll_seconds):
            present = set(self._network.default_routes())
            if present - known:
                self._tell("poll")
            known = present

    def _tell(self, source: str) -> None:
        log.debug("the network has changed", action="network_changed", source=source)
        self._on_better()


def netlink_socket() -> socket.socket:
    """Return a socket that hears of links, addresses and routes in this namespace; OSError where not allowed."""
    listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        listener.bind((0, _GROUPS))
    except OSError:
        listener.close()
        raise
    return listener


def _readable(descriptors: list[int], seconds: float | None) -> set[int]:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(None if seconds is None else seconds * 1000)}


def _messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of each message (netlink(7))."""
    while len(datagram) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(datagram)
        if not _HEADER.size <= length <= len(datagram):
            return
        yield kind, datagram[_HEADER.size : length]
        datagram = datagram[-(-length // _ALIGN) * _ALIGN :]


def _attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes behind a message's fixed part (rtnetlink(3)), by type."""
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            break
        found[kind] = data[_ATTRIBUTE.size : length]
        data = data[-(-length // _ALIGN) * _ALIGN :]
    return found


def _address(body: bytes) -> Present | None:
    """Return the address of a message, None for one that can reach nobody: host scope, or still being checked."""
    _family, _prefix, flags, scope, index = _ADDRESS.unpack_from(body)
    if scope != 0 or flags & _TENTATIVE:
        return None
    return Present("address", index, _attributes(body[_ADDRESS.size :]).get(_IFA_ADDRESS, b""))


def _default_route(body: bytes) -> Present | None:
    """Return the default route of a message, None for any other route."""
    _family, length, _source, _tos, table, _protocol, _scope, kind, _flags = _ROUTE.unpack_from(body)
    if length != 0 or table == _TABLE_LOCAL or kind != _UNICAST:
        return None
    attributes = _attributes(body[_ROUTE.size :])
    index = int.from_bytes(attributes.get(_RTA_OIF, b""), sys.byteorder)
    return Present("route", index, attributes.get(_RTA_GATEWAY, b""))
