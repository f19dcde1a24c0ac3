"""A good API with storage on one port that gives the absurd answers of the grammar when it is told to."""

import contextlib
import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from grammar import SUCCESS, Answer, Cell, answer_of, good_body

_PATHS = {
    "create": re.compile(r"/v1/recordings"),
    "upload_url": re.compile(r"/v1/recordings/([^/]+)/upload-url"),
    "put": re.compile(r"/bucket/([^/?]+).*"),
    "complete": re.compile(r"/v1/recordings/([^/]+)/upload-complete"),
    "heartbeat": re.compile(r"/v1/devices/me/heartbeat"),
    "refresh": re.compile(r"/v1/devices/([^/]+)/token/refresh"),
}
DRIBBLE_SECONDS = 0.05
STALL_SECONDS = 5.0


@dataclass
class Hostile:
    """What the server knows; ``poison`` makes it answer by cells."""

    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The create bodies by remote id."""
    stored: dict[str, bytes] = field(default_factory=dict)
    completed: set[str] = field(default_factory=set)
    calls: list[tuple[float, str]] = field(default_factory=list)
    """When each call came, by the monotonic clock, and which it was."""
    steps: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often each call came for each recording since the cell was set, by its remote id (a create: by its key)."""
    date: Callable[[], float] = time.time
    url: str = ""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._cell: Cell | None = None
        self._left = 0
        self.poisoned = 0
        """How many calls were answered by the cell, or will never be."""
        self._said: dict[str, str] = {}
        """What an id stands for that was said in the place of another."""
        self._commands = 0
        self._keys: dict[str, str] = {}

    def poison(self, cell: Cell, times: int = 1_000_000) -> None:
        """Answer the next calls of the cell's kind by it; after ``times`` of them, or ``heal``, well again."""
        with self._lock:
            self._cell, self._left, self.poisoned = cell, times, 0
            self.steps.clear()

    def heal(self) -> None:
        """Answer well."""
        with self._lock:
            self._cell = None

    def delivered(self) -> set[str]:
        """Return the local ids of what is stored and completed, each of which must be whole."""
        done = self.completed & set(self.stored) & set(self.bodies)
        return {str(self.bodies[remote]["metadata"]["client_recording_id"]) for remote in done}

    def is_deaf(self, path: str) -> bool:
        """Whether the body of this request is not to be read at all."""
        with self._lock:
            cell = self._cell
            deaf = cell is not None and cell.absurdity == "deaf" and bool(_PATHS[cell.call].fullmatch(path))
            self.poisoned += deaf
            return deaf

    def answer(self, call: str, name: str, key: str, body: bytes) -> Answer:
        """Do the work of a call, unless the answer is a refusal, and return what is said of it."""
        with self._lock:
            self.calls.append((time.monotonic(), call))
            self.steps[call, name or key] += 1
            poisoned = self._cell if self._cell is not None and self._cell.call == call else None
            if poisoned is not None:
                self.poisoned += 1
                self._left -= 1
                if self._left <= 0:
                    self._cell = None
            if poisoned is not None and poisoned.place.startswith("error"):
                return answer_of(poisoned)
            facts = self._work(call, name, key, body)
            if poisoned is None:
                kind = [("ETag", f'"{hashlib.md5(body).hexdigest()}"')] if call == "put" else []  # noqa: S324
                return Answer(SUCCESS.get(call, 200), kind, json.dumps(good_body(call, facts)).encode())
            self._commands += 1
            answer = answer_of(poisoned, facts, identity=f"cmd_{self._commands}")
            self._remember_id(call, answer, str(facts.get("id")))
            return answer

    def _remember_id(self, call: str, answer: Answer, remote: str) -> None:
        """Keep which recording was meant by an id that is no good one, and may be taken for one."""
        if call == "create":
            with contextlib.suppress(ValueError, RecursionError, AttributeError):
                given = json.loads(answer.body).get("id")
                if isinstance(given, str):
                    self._said[given] = remote

    def _work(self, call: str, name: str, key: str, body: bytes) -> dict[str, Any]:
        told, name = name, self._said.get(name, name)
        if call == "create":
            remote = self._keys.setdefault(key, f"rec_{len(self._keys) + 1}")
            self.bodies[remote] = json.loads(body)
            return {"id": remote}
        if call == "upload_url":
            return {"upload_url": f"{self.url}/bucket/{name}?X-Amz-Signature=1", "expires_at": None}
        if call == "put":
            self.stored[name] = body
        if call == "complete":
            self.completed.add(name)
            rows = [{"id": "med_1", "status": "uploaded", "file_size_bytes": len(self.stored.get(name, b""))}]
            return {"id": told, "media": rows}
        return {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hostile: Hostile

    def do_POST(self) -> None:
        if self.hostile.is_deaf(self.path):
            time.sleep(STALL_SECONDS)
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        for call, pattern in _PATHS.items():
            if found := pattern.fullmatch(self.path):
                name = unquote(found[1]) if found.groups() else ""
                self._send(self.hostile.answer(call, name, self.headers.get("Idempotency-Key", ""), body))
                return
        self._send(Answer(404, [], b'{"error": "no such call"}'))

    def do_PUT(self) -> None:
        self.do_POST()

    def do_HEAD(self) -> None:
        self._send(Answer(404, [], b""))

    def _send(self, answer: Answer) -> None:
        if answer.raw is not None:
            self.wfile.write(answer.raw)
            self.close_connection = not answer.raw.startswith(b"HTTP/1.1 200")
            return
        lines = [f"HTTP/1.1 {answer.status} Whatever"]
        lines += [f"{name}: {value}" for name, value in answer.headers]
        if "date" not in {name.lower() for name, _ in answer.headers}:
            lines.append(f"Date: {self.date_time_string()}")
        head = "\r\n".join([*lines, f"Content-Length: {len(answer.body)}"]).encode("latin-1") + b"\r\n\r\n"
        data = head + answer.body
        if answer.speed == "silent":
            data = b""
        if answer.speed == "stall":
            data = data[: len(data) // 2]
        if answer.speed == "dribble":
            for byte in data:
                self.wfile.write(bytes([byte]))
                time.sleep(DRIBBLE_SECONDS)
        else:
            self.wfile.write(data)
        if answer.speed in {"silent", "stall"}:
            time.sleep(STALL_SECONDS)
            self.close_connection = True

    def log_message(self, *_given: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_given: object) -> None:
        """Clients that hang up are nothing to speak of."""


@contextlib.contextmanager
def hostile_server() -> Iterator[Hostile]:
    """Serve until the block ends; ``url`` has no path."""
    hostile = Hostile()
    handler = type("Handler", (_Handler,), {"hostile": hostile})
    server = _Server(("127.0.0.1", 0), handler)
    hostile.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hostile
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
