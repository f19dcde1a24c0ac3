"""The open sockets of one client, so that another thread can cut them.

httpx tells of its connections through the ``trace`` extension. Sockets are cut with the plain ``shutdown``
of the socket beneath TLS: ``close`` would not wake a thread that waits in ``poll``, and
``SSLSocket.shutdown`` would let that thread go on in plain text.
"""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from typing import Any

from agent.api.transport.alarms import Alarm, Alarms


class SocketTracker:
    """Follows the sockets of a client that makes one call at a time.

    ``answer_seconds`` bounds the time from the last byte of a request to the last of its answer.
    ``send_buffer`` sets SO_SNDBUF, so that bytes handed to the kernel are soon on the line.
    """

    def __init__(
        self,
        answer_seconds: float,
        send_buffer: int | None,
        alarms: Alarms,
        meter: Callable[[int], object] = lambda _bytes: None,
    ) -> None:
        self._answer_seconds = answer_seconds
        self._meter = meter
        self._metered: dict[int, int] = {}
        """Bytes of each open connection that were told to the meter, by descriptor."""
        self._send_buffer = send_buffer
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._in_handshake: socket.socket | None = None
        self._alarms = alarms
        self._deadline: Alarm | None = None
        self.peer: str | None = None
        """The host this call connected to: the proxy, where there is one; None on a kept connection."""
        self.expired = False
        """The last call was cut by its deadline."""
        self.aborted = False
        """All calls are cut, for good."""

    def begin(self) -> None:
        """Start a call."""
        with self._lock:
            self.expired = False
            self.peer = None

    def end(self) -> None:
        """End a call: no deadline cuts the next one."""
        self.count()
        self._disarm()

    def count(self) -> None:
        """Tell the meter what has crossed the open connections since it was told last, in bytes above TCP."""
        fresh = 0
        with self._lock:
            for connection in self._open:
                crossed = _crossed(connection)
                if crossed is not None:
                    descriptor = connection.fileno()
                    fresh += max(0, crossed - self._metered.get(descriptor, 0))
                    self._metered[descriptor] = crossed
        if fresh:
            self._meter(fresh)

    def cut(self) -> None:
        """Cut all connections; later ones are untouched."""
        with self._lock:
            self._cut()

    def cut_stranded(self) -> None:
        """Cut the connections that no answer can reach: the way to the other side now begins at another address."""
        with self._lock:
            for connection in self._open:
                if _is_stranded(connection):
                    _shut_down(connection)

    def abort(self) -> None:
        """Cut all connections, now and in future."""
        with self._lock:
            self.aborted = True
            self._cut()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Take an event of httpcore, such as ``connection.connect_tcp.complete``."""
        match event.partition(".")[2]:
            case "connect_tcp.started":
                self.peer = str(info["host"])
            case "connect_tcp.complete":
                connection = info["return_value"].get_extra_info("socket")
                self._metered.pop(connection.fileno(), None)
                self._add(connection)
            case "start_tls.started":
                self._hold()
            case "start_tls.failed":
                self._release()
            case "start_tls.complete":
                self._release()
                self._add(info["return_value"].get_extra_info("socket"))
            case "send_request_headers.started":  # after a CONNECT, whose answer was waited for
                self._disarm()
            case "receive_response_headers.started":
                self._arm()
            case "response_closed.started":
                self.count()  # the connection may be closed at the end of this answer

    def _add(self, connection: socket.socket) -> None:
        with self._lock:
            if self._send_buffer is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer)
            self._open = [known for known in self._open if known.fileno() >= 0]
            self._open.append(connection)
            if self.aborted:
                self._cut()

    def _hold(self) -> None:
        """Keep a second handle on the socket that the TLS handshake takes over, for as long as it lasts."""
        with self._lock:
            raw = [
                connection
                for connection in self._open
                if connection.fileno() >= 0 and not isinstance(connection, ssl.SSLSocket)
            ]
            if raw:
                self._in_handshake = raw[-1].dup()

    def _release(self) -> None:
        with self._lock:
            if self._in_handshake is not None:
                self._in_handshake.close()
                self._in_handshake = None

    def _arm(self) -> None:
        self._disarm()
        with self._lock:
            self._deadline = deadline = self._alarms.after(
                self._answer_seconds, lambda: self._expire(deadline)
            )

    def _disarm(self) -> None:
        with self._lock:
            deadline, self._deadline = self._deadline, None
        if deadline is not None:
            self._alarms.call_off(deadline)

    def _expire(self, deadline: Alarm) -> None:
        with self._lock:
            if self._deadline is deadline:
                self.expired = True
                self._cut()

    def _cut(self) -> None:
        """Who calls holds the lock."""
        connections = [*self._open, self._in_handshake] if self._in_handshake is not None else self._open
        for connection in connections:
            _shut_down(connection)


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # already closed, or the other side was first
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _is_stranded(connection: socket.socket) -> bool:
    """Whether the kernel would give a new connection to the same place another address; no way at all may come back."""
    try:
        with socket.socket(connection.family, socket.SOCK_DGRAM) as probe:
            probe.connect(connection.getpeername())  # of a datagram socket: nothing is sent
            return bool(probe.getsockname()[0] != connection.getsockname()[0])
    except OSError:  # closed, or unreachable
        return False


def _crossed(connection: socket.socket) -> int | None:
    """Return the bytes that a connection has sent, as far as they were acknowledged, and received; None: not known."""
    try:
        told = socket.socket.getsockopt(connection, socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        acked, received = _BYTES.unpack_from(told, _BYTES_AT)
    except (OSError, struct.error):  # closed, or a kernel that does not tell
        return None
    return int(acked + received)


_BYTES = struct.Struct("=QQ")
_BYTES_AT = 120
"""tcpi_bytes_acked and tcpi_bytes_received in struct tcp_info (linux/tcp.h)."""
_TCP_INFO_BYTES = _BYTES_AT + _BYTES.size
