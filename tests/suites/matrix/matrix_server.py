"""A server of sockets alone: the API and its storage on two ports, each with one scripted wrong answer.

The first requests of the one call get the wrong answers in turn, those of a sequence for one recording alone;
everything else is healthy.
"""

import contextlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from urllib.parse import unquote, urlsplit

from matrix_book import BEARERS, Book, Exchange

CUTS: dict[str, Callable[[int], int]] = {
    "0": lambda _size: 0,
    "1": lambda size: min(1, size),
    "half": lambda size: size // 2,
    "last": lambda size: max(0, size - 1),
}
HOST = "127.77.7.7"
"""Loopback, and nobody else's: a port may have been another server's a moment ago."""
RETRY_AFTER = 30
UNDONE = frozenset({"html", "empty", "json-array", "json-string", "redirect"})
"""Answers of something that is not the API: it has done no work."""
NOT_KEPT = frozenset({"401", "403", "408", "429"})
"""What is said of the token or the moment is not the answer to a request, and not kept for its key."""
HUGE = 3 * 1024 * 1024
PAGE = b"<html><head><title>Welcome to Hotel WiFi</title></head><p>Please sign in</html>"
_PATHS = {
    "create": re.compile(r"/v1/recordings"),
    "url": re.compile(r"/v1/recordings/([^/]+)/upload-url"),
    "put": re.compile(r"/bucket/([^/]+)/[^/]+"),
    "complete": re.compile(r"/v1/recordings/([^/]+)/upload-complete"),
    "heartbeat": re.compile(r"/v1/devices/me/heartbeat"),
    "refresh": re.compile(r"/v1/devices/([^/]+)/token/refresh"),
}

Headers = list[tuple[str, str]]


class Server:
    """Serves on two loopback ports until closed; ``now`` is the agent's simulated wall clock."""

    def __init__(self, contract: str, call: str, faults: list[str], now: Callable[[], float]) -> None:
        self.book = Book(contract)
        self.hits = 0
        self._call = call
        self._faults = faults
        self._pinned: str | None = None
        self._now = now
        self._ended = threading.Event()
        self._open: set[socket.socket] = set()
        self._listeners = [socket.create_server((HOST, 0)) for _ in range(3)]
        api, storage, self._trap = (f"http://{HOST}:{each.getsockname()[1]}" for each in self._listeners)
        self.base_url = f"{api}/v1"
        self.book.storage = storage
        for place, listener in zip(("api", "storage", "trap"), self._listeners, strict=True):
            threading.Thread(target=self._accept, args=(listener, place), daemon=True).start()

    def close(self) -> None:
        """End all connections."""
        self._ended.set()
        for wire in [*self._listeners, *self._open]:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)
            wire.close()

    def _accept(self, listener: socket.socket, place: str) -> None:
        with contextlib.suppress(OSError):
            while True:
                wire, _ = listener.accept()
                threading.Thread(target=self._serve, args=(wire, place), daemon=True).start()

    def _serve(self, wire: socket.socket, place: str) -> None:
        self._open.add(wire)
        with contextlib.suppress(OSError), wire:
            wire.settimeout(20)
            while self._exchange(wire, place):
                pass
        self._open.discard(wire)

    def _exchange(self, wire: socket.socket, place: str) -> bool:
        """Take one request and answer it; return whether the connection goes on."""
        received = b""
        while b"\r\n\r\n" not in received:
            data = wire.recv(65536)
            if not data:
                return False
            received += data
        first, _, rest = received.partition(b"\r\n\r\n")
        line, *lines = first.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ")
        head = {name.lower(): value.strip() for name, _, value in (entry.partition(":") for entry in lines)}
        call, name = self._named(method, urlsplit(target).path, place)
        fault = self._fault_of(call, name)
        self._look_at(call, head, place)
        body = rest + self._read(wire, fault, int(head.get("content-length", "0")), len(rest))
        if fault.startswith("request-cut") or fault == "dropped-before":
            return _reset(wire)
        if call == "head":
            return self._send(wire, "", _rendered(200, [self._date()], b"", body_too=False))
        return self._answer(wire, fault, call, name, head, body)

    def _named(self, method: str, path: str, place: str) -> tuple[str, str]:
        if method == "HEAD":
            return "head", ""
        for call, pattern in _PATHS.items():
            if found := pattern.fullmatch(path):
                return call, unquote(found[1]) if found.groups() else ""
        self.book.findings.append(f"an unknown call at {place}: {method} {path}")
        return "unknown", ""

    def _fault_of(self, call: str, name: str) -> str:
        with self.book.lock:
            fault = ""
            pinned = len(set(self._faults)) > 1 and self._pinned not in {None, name}
            if call == self._call and self.hits < len(self._faults) and not pinned:
                fault = self._faults[self.hits]
                self.hits += 1
                self._pinned = name
            self.book.exchanges.append(Exchange(self._now(), call, name, fault))
            return fault

    def _look_at(self, call: str, head: dict[str, str], place: str) -> None:
        if place == "trap":
            self.book.findings.append(f"a redirect was followed by {call}")
        elif (call == "put") != (place == "storage"):
            self.book.findings.append(f"{call} came to the {place} port")
        elif place == "api" and call != "head" and head.get("authorization") not in BEARERS:
            self.book.findings.append(f"{call} without its bearer")

    def _read(self, wire: socket.socket, fault: str, length: int, have: int) -> bytes:
        """Read the rest of the body, or as much of it as the fault lets through."""
        if fault == "dropped-before":
            return b""
        if fault.startswith("request-cut-"):
            length = CUTS[fault.removeprefix("request-cut-")](length)
        piece = max(1, length // 8) if fault == "slow" else 65536
        body = bytearray()
        while have + len(body) < length:
            data = wire.recv(min(piece, length - have - len(body)))
            if not data:
                raise ConnectionResetError
            body += data
            if fault == "slow":
                self._ended.wait(0.01)
        return bytes(body)

    def _answer(
        self, wire: socket.socket, fault: str, call: str, name: str, head: dict[str, str], body: bytes
    ) -> bool:
        if call not in {"unknown", "put"} and head.get("authorization") != f"Bearer {self.book.token}":
            return self._send(wire, "", _rendered(401, [self._date()], b'{"error": "the token is dead"}'))
        if call == "unknown":
            return self._send(wire, "", _rendered(404, [self._date()], b'{"error": "no such call"}'))
        key = head.get("idempotency-key", "") if call == "create" and self.book.contract == "older" else ""
        if not fault and (kept := self.book.refused.get(key)):
            return self._send(wire, "", kept)
        code = fault[:3] if fault[:3].isdigit() else ""
        undone = fault in UNDONE or (code and not code.startswith("2") and fault != "500-but-done")
        if undone:
            wrong = self._wrong(fault, code, call)
            if key and code.startswith("4") and code not in NOT_KEPT:
                self.book.refused[key] = wrong
            return self._send(wire, fault, wrong)
        status, given = self.book.work(call, name, head, body)
        if fault == "dropped-after":
            return False
        if fault == "500-but-done":
            return self._send(wire, fault, self._wrong(fault, code, call))
        if status >= 300 and (code or fault.startswith(("json", "wrong", "huge"))):
            self.book.unsay(call, name)  # a healthy server refuses this; the fault is a variation of success
            fault, code = "", ""
        return self._send(wire, fault, self._right(fault, int(code or status), call, given))

    def _right(self, fault: str, status: int, call: str, given: object) -> bytes:
        """Return what a healthy server says, or the variation that the fault is."""
        headers: Headers = [self._date(), ("Content-Type", "application/json")]
        if call == "put":
            tag = '"no-md5-at-all"' if fault == "wrong-hash" else str(given)
            headers = [self._date()] if fault == "json-missing-id" else [self._date(), ("ETag", tag)]
            text = (
                b"x" * HUGE
                if fault == "huge-body"
                else b'{"id": "rec_other"}'
                if fault == "wrong-id"
                else b""
            )
            return _rendered(status, headers, text)
        answer = dict(given) if isinstance(given, dict) else {}
        if fault == "json-missing-id":
            for key in ("id", "upload_url", "device_token", "status"):
                answer.pop(key, None)
        if fault == "wrong-id":
            answer["id"] = "../devices/me?x=/rec_ghost"
        if fault == "wrong-hash":
            answer["content_sha256"] = "ab" * 32
        if fault == "huge-body":
            answer["padding"] = "x" * HUGE
        body = b"" if status == 204 else json.dumps(answer).encode()
        return _rendered(status, headers, body)

    def _wrong(self, fault: str, code: str, call: str) -> bytes:
        """Return an answer that says no, or that is not the API's."""
        headers: Headers = [self._date()]
        if fault in UNDONE and fault != "redirect":
            text = {"html": PAGE, "json-array": b'[{"id": "rec_1"}]', "json-string": b'"rec_1"'}.get(
                fault, b""
            )
            return _rendered(200, headers, text)
        status = 302 if fault == "redirect" else int(code)
        if 300 <= status < 400:
            headers.append(("Location", f"{self._trap}/elsewhere?secret=1"))
            return _rendered(status, headers, PAGE)
        headers += self._when(fault)
        if fault.endswith("-empty"):
            return _rendered(status, headers, b"")
        if fault.endswith("-html") or status == 511:
            return _rendered(status, [*headers, ("Content-Type", "text/html")], PAGE)
        reason = "RequestTimeout" if "RequestTimeout" in fault else "words_of_the_server"
        if call == "put":
            text = f"<Error><Code>{reason}</Code><Message>said {fault}</Message></Error>".encode()
        else:
            text = json.dumps({"error": {"code": reason, "message": f"said {fault}"}}).encode()
        return _rendered(status, headers, text)

    def _when(self, fault: str) -> Headers:
        match fault:
            case "429" | "503-retry-after":
                return [("Retry-After", str(RETRY_AFTER))]
            case "429-http-date":
                return [("Retry-After", formatdate(self._now() + RETRY_AFTER + 1, usegmt=True))]
            case "429-unix-time":
                return [("X-RateLimit-Reset", str(int(self._now()) + RETRY_AFTER + 1))]
            case "429-small-number":
                return [("X-RateLimit-Reset", str(RETRY_AFTER))]
        return []

    def _date(self) -> tuple[str, str]:
        return "Date", formatdate(self._now(), usegmt=True)

    def _send(self, wire: socket.socket, fault: str, data: bytes) -> bool:
        if fault.startswith("answer-cut-"):
            wire.sendall(data[: CUTS[fault.removeprefix("answer-cut-")](len(data))])
            return False
        if fault.startswith("stalled"):
            wire.sendall(data[: len(data) // 2] if fault == "stalled-half" else b"")
            self._ended.wait(10)
            return False
        for piece in _pieces(data, 16 if fault == "slow" else len(data)):
            wire.sendall(piece)
            if fault == "slow":
                self._ended.wait(0.005)
        return True


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def _reset(wire: socket.socket) -> bool:
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def _rendered(status: int, headers: Headers, body: bytes, *, body_too: bool = True) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers)]
    if status != 204:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body if body_too else b"")
