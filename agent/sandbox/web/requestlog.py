"""One line per request: in ``requests.jsonl`` and, for a person, on the console."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.sandbox.book import sha256_text
from agent.sandbox.model import utc_text
from agent.sandbox.web.answers import DROP_EXTENSION

_SHOWN_HEADERS = (
    "host",
    "user-agent",
    "content-type",
    "content-length",
    "transfer-encoding",
    "idempotency-key",
    "connection",
)
_TOKEN = re.compile(r"dtok_[A-Za-z0-9_-]+")


def fingerprint(token: str) -> str:
    """Return the first 12 digits of a token's SHA-256."""
    return sha256_text(token)[:12]


class RequestLog:
    """ASGI middleware that writes the line just before the client can see how its request went.

    No token and no query string gets in.

    A line is ``{time, method, path, status, bytes, headers, credential}``: status is null when the connection
    was closed without an answer, bytes is what came of the body, credential the scheme and a fingerprint.
    """

    def __init__(
        self, app: ASGIApp, path: Path, now: Callable[[], float], console: Callable[[str], None] | None
    ) -> None:
        self._app = app
        self._path = path
        self._now = now
        self._console = console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and write its line."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status: int | None = None
        size = 0
        written = False
        started_at = self._now()
        drop = scope.get("extensions", {}).get(DROP_EXTENSION)

        async def counted_receive() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            return message

        async def noted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                write()
            await send(message)

        def noted_drop() -> None:
            write()
            drop()

        def write() -> None:
            nonlocal written
            if not written:
                written = True
                self._write(scope, started_at, status, size)

        try:
            noted = {**scope, "extensions": {DROP_EXTENSION: noted_drop}}
            await self._app(noted, counted_receive, noted_send)
        finally:
            write()

    def _write(self, scope: Scope, started_at: float, status: int | None, size: int) -> None:
        headers = Headers(scope=scope)
        shown = {name: _clean(headers[name]) for name in _SHOWN_HEADERS if name in headers}
        path = _clean(scope["path"])
        line = {
            "time": utc_text(started_at),
            "method": scope["method"],
            "path": path,
            "status": status,
            "bytes": size,
            "headers": shown,
            "credential": _credential(headers.get("authorization")),
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._console is not None and not path.startswith("/_sandbox/"):
            self._console(f"{line['time']} {scope['method']} {path} {status or 'no answer'} {size}")


def _credential(authorization: str | None) -> str | None:
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    if not token:
        scheme, token = "", scheme
    return f"{scheme} {fingerprint(token)}".strip()


def _clean(text: str) -> str:
    return _TOKEN.sub(lambda found: f"dtok#{fingerprint(found[0])}", text)
