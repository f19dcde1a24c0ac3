"""A scripted HTTP server on raw sockets; it shares no code with the agent or its sandbox.

Each request takes the next ``Reply`` of the script, whichever connection it comes by; requests are kept raw.
"""

import contextlib
import json
import queue
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

REASONS = {200: "OK", 201: "Created", 302: "Found", 403: "Forbidden", 404: "Not Found"}


@dataclass(frozen=True)
class Reply:
    """One answer, and what goes wrong with it."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    drop: Literal["no", "before", "after"] = "no"
    """Close before reading the request, or after it without an answer."""
    reset: bool = False
    """Close with RST in place of FIN."""
    cut_at: int | None = None
    """Close after so many bytes of the answer."""
    stall: Literal["no", "body", "answer", "middle"] = "no"
    """Never read the request's body; never answer; stop half-way in the answer. Until the server ends."""
    dribble: float = 0.0
    """Seconds between single bytes of the answer."""
    early: bool = False
    """Answer after the request's head, while the client is still sending, and close."""
    close: bool = False
    """Say ``Connection: close`` and do so."""
    length: int | None = None
    """A Content-Length that is not the body's."""
    raw: bytes | None = None
    """What goes on the line in the place of all that."""


def as_json(value: Any, status: int = 200, *headers: tuple[str, str], **faults: Any) -> Reply:
    """Return a reply with a JSON body."""
    given = (("Content-Type", "application/json"), *headers)
    return Reply(status, json.dumps(value).encode(), given, **faults)


def as_html(status: int = 200, text: str = "<html><title>Welcome to Hotel WiFi</title><p>Log in") -> Reply:
    """Return a web page."""
    return Reply(status, text.encode(), (("Content-Type", "text/html"),))


@dataclass
class Seen:
    """One request as it came."""

    connection: int
    method: str
    target: str
    headers: list[tuple[str, str]]
    head: bytes
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        """Return all values of a header."""
        return [value for given, value in self.headers if given.lower() == name.lower()]

    def one(self, name: str) -> str:
        """Return the value of a header that must be there once."""
        (value,) = self.all(name)
        return value


@dataclass
class SocketApi:
    """The server; ``replies`` may be filled before or while it runs."""

    tls: ssl.SSLContext | None = None
    replies: "queue.SimpleQueue[Reply]" = field(default_factory=queue.SimpleQueue)
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    receive_buffer: int | None = None

    def __post_init__(self) -> None:
        self.arrived = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket()
        if self.receive_buffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """The server's own base URL."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def script(self, *replies: Reply) -> None:
        """Add replies."""
        for reply in replies:
            self.replies.put(reply)

    def close_idle(self) -> None:
        """Close all connections, as a server does that has waited long enough."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

    @contextlib.contextmanager
    def running(self) -> Iterator["SocketApi"]:
        """Serve until the block ends."""
        accepting = threading.Thread(target=self._accept, daemon=True)
        accepting.start()
        try:
            yield self
        finally:
            self._ended.set()
            self._listener.shutdown(socket.SHUT_RDWR)
            self.close_idle()
            accepting.join(5)
            for thread in self._threads:
                thread.join(5)
            self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(raw, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, raw: socket.socket, number: int) -> None:
        connection = raw
        try:
            raw.settimeout(10)
            if self.tls is not None:
                connection = self.tls.wrap_socket(raw, server_side=True)
            with self._lock:
                self._open.append(connection)
            while self._exchange(connection, number):
                pass
        except OSError:
            pass
        finally:
            with self._lock:
                if connection in self._open:
                    self._open.remove(connection)
            connection.close()

    def _exchange(self, connection: socket.socket, number: int) -> bool:
        """Take one request; return whether the connection goes on."""
        received = connection.recv(1)
        if not received:
            return False
        try:
            reply = self.replies.get_nowait()
        except queue.Empty:
            reply = Reply(500, b"the script has no more replies", close=True)
        if reply.drop == "before":
            return self._end(connection, reply)
        while b"\r\n\r\n" not in received:
            data = connection.recv(65536)
            if not data:
                return False
            received += data
        head, _, body = received.partition(b"\r\n\r\n")
        request = _request(number, head)
        self.seen.append(request)
        self.arrived.set()
        if reply.stall == "body":
            self._ended.wait(10)
            return False
        if not reply.early:
            wanted = int(request.all("content-length")[0]) if request.all("content-length") else 0
            whole = bytearray(body)
            while len(whole) < wanted:
                data = connection.recv(min(65536, wanted - len(whole)))
                if not data:
                    return False
                whole += data
            body = bytes(whole)
        request.body = body
        return self._answer(connection, reply, request)

    def _answer(self, connection: socket.socket, reply: Reply, request: Seen) -> bool:
        if reply.drop == "after":
            return self._end(connection, reply)
        if reply.stall == "answer":
            self._ended.wait(10)
            return False
        data = _rendered(reply, head_only=request.method == "HEAD")
        if reply.stall == "middle":
            connection.sendall(data[: len(data) // 2])
            self._ended.wait(10)
            return False
        if reply.dribble:
            for position in range(len(data)):
                connection.sendall(data[position : position + 1])
                if self._ended.wait(reply.dribble):
                    return False
        connection.sendall(b"" if reply.dribble else data[: reply.cut_at])
        if reply.cut_at is not None or reply.early or reply.close:
            return self._end(connection, reply)
        return True

    def _end(self, connection: socket.socket, reply: Reply) -> bool:
        if reply.reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


def _request(number: int, head: bytes) -> Seen:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = [line.partition(":") for line in lines]
    return Seen(number, method, target, [(name, value.strip()) for name, _, value in pairs], head)


def _rendered(reply: Reply, *, head_only: bool) -> bytes:
    if reply.raw is not None:
        return reply.raw
    lines = [f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Whatever')}"]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    length = len(reply.body) if reply.length is None else reply.length
    lines.append(f"Content-Length: {length}")
    if reply.close or reply.early:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (b"" if head_only else reply.body)


class Tunnel:
    """A proxy that knows CONNECT and passes bytes on, for one connection at a time."""

    def __init__(self) -> None:
        self.tunnels = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        """Serve until the listener is shut down."""
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                head = b""
                while b"\r\n\r\n" not in head:
                    head += near.recv(65536)
                host, _, port = head.split()[1].decode().rpartition(":")
                far = socket.create_connection((host, int(port)))
                near.sendall(b"HTTP/1.1 200 Established\r\n\r\n")
                self.tunnels += 1
                with near, far:
                    back = threading.Thread(target=_pass_on, args=(far, near), daemon=True)
                    back.start()
                    _pass_on(near, far)
                    back.join(5)

    def end(self) -> None:
        """Stop accepting."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextlib.contextmanager
def tunnel() -> Iterator[Tunnel]:
    """Give a running proxy."""
    proxy = Tunnel()
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.end()
        thread.join(5)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
