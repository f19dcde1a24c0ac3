"""Absurd answers of a server: calls × places × {sizes, types, values, encodings, speeds}, shared by all who serve them.

A ``Cell`` is one answer to one call in which one thing is absurd; everything else of it is right. ``cells()`` are all
of them, ``answer_of`` renders one. Nothing here knows the agent.
"""

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

CALLS = ("create", "upload_url", "put", "complete", "heartbeat", "refresh")
SUCCESS = {"create": 201}
"""The status of a good answer, where it is not 200."""


class Answer(NamedTuple):
    """What goes on the line."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    speed: str = ""
    """Empty: at once; ``dribble``: a byte at a time; ``stall``: half of it and no more; ``silent``: nothing;
    ``deaf``: the request's body is not read."""
    raw: bytes | None = None
    """What goes on the line in the place of all that."""


class Cell(NamedTuple):
    """One answer in which one thing is absurd."""

    call: str
    place: str
    """``field:<name>``, ``header:<name>``, ``error:<name>``, ``body``, ``speed`` or ``wire``."""
    absurdity: str
    """A name out of ``VALUES``, ``HEADER_VALUES``, ``ENCODINGS``, ``SPEEDS`` or ``WIRES``."""

    def __str__(self) -> str:
        return f"{self.call}/{self.place}/{self.absurdity}"


# what a field of JSON can hold, as it is written: sizes, types, values

VALUES: dict[str, str] = {
    "null": "null",
    "true": "true",
    "empty text": '""',
    "70 kB": json.dumps("x" * 70_000),
    "1 MB": json.dumps("x-amz-" * 170_000),
    "1 MB of one word": json.dumps("eyJ" + "a" * 1_000_000),
    "201 characters": json.dumps("a" * 201),
    "line break": json.dumps("a\r\nX-Evil: 1"),
    "escape": json.dumps("\x1b]0;evil\x07\x1b[2J"),
    "NUL": json.dumps("a\x00b"),
    "right to left": json.dumps("a\u202eb"),
    "no character": '"\\ud800"',
    "dots": '".."',
    "path": json.dumps("../devices/me?x=/a"),
    "not a number": '"NaN"',
    "zero": "0",
    "negative": "-1",
    "large": str(2**63),
    "400 digits": "9" * 400,
    "5000 digits": "9" * 5000,
    "large exponent": "1e400",
    "fraction": "0.5",
    "empty list": "[]",
    "list": '["a", "b"]',
    "list of one": '["a"]',
    "empty object": "{}",
    "object": '{"a": {"b": 1}}',
    "deep": "[" * 100_000 + "]" * 100_000,
    "year 10000": '"10000-01-01T00:00:00Z"',
    "year 1": '"0001-01-01T00:00:00+23:59"',
    "1970": '"1970-01-01T00:00:00Z"',
    "name of a bad host": '"https://xn--a/x"',
    "host that is none": json.dumps(f"https://{'a' * 70}.example/x"),
    "plain http": '"http://storage.example/x"',
    "port": '"https://storage.example:99999/x"',
    "host that is not there": '"https://storage.invalid/x"',
}

HEADER_VALUES: dict[str, str] = {
    "empty": "",
    "word": "soon",
    "negative": "-1",
    "zero": "0",
    "a day": "86400",
    "60000": "60000",
    "400 digits": "9" * 400,
    "exponent": "1e400",
    "nan": "nan",
    "underscore": "1_000",
    "60 kB": "7" * 60_000,
    "year 9999": "Fri, 31 Dec 9999 23:59:59 GMT",
    "1970": "Thu, 01 Jan 1970 00:00:00 GMT",
    "year 101": "Sat, 01 Jan 0101 00:00:00 GMT",
    "year 40000": "Fri, 31 Dec 40000 23:59:59 GMT",
    "no date": "Thu, 99 Foo 2026 99:99:99 GMT",
    "Latin-1": "Gr\xfc\xdfe",
    "tabs": "\t7\t",
}

HEADERS = (
    *("Date", "Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"),
    *("ETag", "Location", "Content-Type", "Set-Cookie"),
)

ENCODINGS: dict[str, Callable[[bytes], tuple[list[tuple[str, str]], bytes]]] = {
    "gzip unasked": lambda body: ([("Content-Encoding", "gzip")], gzip.compress(body)),
    "gzip bomb": lambda _body: ([("Content-Encoding", "gzip")], gzip.compress(b" " * 50_000_000)),
    "gzip that is none": lambda body: ([("Content-Encoding", "gzip")], body),
    "unknown coding": lambda body: ([("Content-Encoding", "br")], body),
    "byte order mark": lambda body: ([], b"\xef\xbb\xbf" + body),
    "UTF-16": lambda body: ([], body.decode().encode("utf-16")),
    "Latin-1": lambda body: ([], body.replace(b"{", b'{"n": "\xfc", ', 1)),
    "nothing": lambda _body: ([], b""),
    "web page": lambda _body: ([("Content-Type", "text/html")], b"<html><title>Log in</title>"),
    "endless markup": lambda _body: ([], b"<title><script" * 20_000),
    "half": lambda body: ([], body[: len(body) // 2]),
    "list": lambda body: ([], b"[" + body + b"]"),
    "number": lambda _body: ([], b"1"),
    "deep": lambda _body: ([], b'{"a":' * 100_000),
    "3 MB": lambda body: ([], body.replace(b"{", b'{"pad": "' + b"x" * 3_000_000 + b'", ', 1)),
    "100000 keys": lambda body: (
        [],
        body.replace(b"{", b"{" + b"".join(b'"k%d":1,' % n for n in range(100_000)), 1),
    ),
    "the same key twice": lambda body: ([], body.replace(b"{", b'{"id": 7, "status": [], ', 1)),
    "300 headers": lambda body: ([(f"X-Flood-{n}", "y" * 100) for n in range(300)], body),
    "2000 headers": lambda body: ([(f"X-Flood-{n}", "y" * 100) for n in range(2000)], body),
}

SPEEDS = ("dribble", "stall", "silent", "deaf")


def _framed(body: bytes, *lines: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", *lines, "", "")).encode() + body


def _whole(body: bytes) -> bytes:
    return _framed(body, "Content-Type: application/json", 'ETag: "1"', f"Content-Length: {len(body)}")


WIRES: dict[str, Callable[[bytes], bytes]] = {
    "no status line": lambda body: body + b"\r\n\r\n",
    "nothing but a line break": lambda _body: b"\r\n" * 1000,
    "another protocol": lambda _body: b"SSH-2.0-OpenSSH_9.2\r\n",
    "TLS": lambda _body: b"\x15\x03\x01\x00\x02\x02\x28",
    "status 99": lambda _body: b"HTTP/1.1 99 What\r\nContent-Length: 0\r\n\r\n",
    "status 999": lambda _body: b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
    "status of 400 digits": lambda _body: b"HTTP/1.1 " + b"2" * 400 + b" OK\r\n\r\n",
    "another major version": lambda body: _whole(body).replace(b"HTTP/1.1", b"HTTP/9.9"),
    "switching protocols": lambda _body: (
        b"HTTP/1.1 101 Whatever\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello"
    ),
    "20000 times continue": lambda body: b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000 + _whole(body),
    "two answers": lambda body: _whole(body) + _whole(b'{"id": "rec_stale", "status": "stale"}'),
    "a hundred answers": lambda body: _whole(body) * 100,
    "two lengths": lambda body: _framed(body, "Content-Length: 1", f"Content-Length: {len(body)}"),
    "length of 400 digits": lambda body: _framed(body, f"Content-Length: {'9' * 400}"),
    "negative length": lambda body: _framed(body, "Content-Length: -1"),
    "length that is too large": lambda body: _framed(body, f"Content-Length: {len(body) + 5}"),
    "length that is too small": lambda body: _framed(body, f"Content-Length: {max(0, len(body) - 5)}"),
    "chunk that is no number": lambda body: _framed(b"zz\r\n" + body, "Transfer-Encoding: chunked"),
    "chunk of 400 digits": lambda body: _framed(b"f" * 400 + b"\r\n" + body, "Transfer-Encoding: chunked"),
    "chunk with a long extension": lambda body: _framed(
        b"5;" + b"x" * 500_000 + body, "Transfer-Encoding: chunked"
    ),
    "unknown transfer": lambda body: _framed(body, "Transfer-Encoding: rot13"),
    "header without an end": lambda _body: b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 2_000_000,
    "header without a colon": lambda body: _framed(body, "nothing at all", f"Content-Length: {len(body)}"),
    "header with a NUL": lambda body: _framed(body, "X-A: \0", f"Content-Length: {len(body)}"),
    "header that is folded": lambda body: _framed(body, "ETag: a", " b", f"Content-Length: {len(body)}"),
    "line feeds alone": lambda body: _whole(body).replace(b"\r\n", b"\n"),
    "nothing at all": lambda _body: b"",
}
"""What goes on the line instead of an answer, by the body of a good one."""

ERROR_STATUSES = (400, 401, 403, 404, 409, 413, 425, 429, 500, 503)
ERROR_FIELDS = ("error", "code", "message", "type", "param", "details")


def good_body(call: str, facts: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a good answer's body; ``facts`` replaces fields, such as the ids a server has given."""
    bodies: dict[str, dict[str, Any]] = {
        "create": {"id": "rec_1", "device_id": "dev_1", "end_user_id": "eu_1", "status": "pending"},
        "upload_url": {
            "upload_url": "https://storage.invalid/b?X-Amz-Signature=1",
            "expires_at": "2027-01-01T00:00:00Z",
            "media_id": "med_1",
            "content_type": "audio/opus",
            "headers": {"Content-Type": "audio/opus"},
        },
        "put": {},
        "complete": {
            "id": "rec_1",
            "status": "uploaded",
            "content_sha256": None,
            "content_sha256_verified_at": None,
            "media": [{"id": "med_1", "status": "uploaded", "file_size_bytes": 1}],
        },
        "heartbeat": {
            "status": "ok",
            "commands": [],
            "pending_commands": [],
            "command": None,
            "firmware": {"version": "1"},
            "ota": None,
        },
        "refresh": {"device_token": "dtok_new"},
    }
    return bodies[call] | (facts or {})


COMMAND: dict[str, Any] = {
    "id": "cmd_1",
    "type": "trigger_upload",
    "params": {"max_duration_sec": 60, "upload_immediately": True, "metadata": {"a": "b"}},
    "grant_token": "eyJhbGciOiJIUzI1NiJ9.e30.x",
    "expires_at": "2099-01-01T00:00:00Z",
}
"""Each of its fields is a place too: ``field:commands.<name>``, and ``field:commands.params.<name>``."""


def cells() -> Iterator[Cell]:
    """Yield every cell."""
    for call in CALLS:
        for name in good_body(call):
            yield from (Cell(call, f"field:{name}", value) for value in VALUES)
        for header in HEADERS:
            yield from (Cell(call, f"header:{header}", value) for value in HEADER_VALUES)
        for status in ERROR_STATUSES:
            yield from (Cell(call, f"error:{status}:Retry-After", value) for value in HEADER_VALUES)
        for field in ERROR_FIELDS:
            yield from (Cell(call, f"error:400:{field}", value) for value in VALUES)
        yield from (Cell(call, "body", encoding) for encoding in ENCODINGS)
        yield from (Cell(call, "speed", speed) for speed in SPEEDS)
        yield from (Cell(call, "wire", wire) for wire in WIRES)
    for name in COMMAND:
        yield from (Cell("heartbeat", f"field:commands.{name}", value) for value in VALUES)
    for name in ("max_duration_sec", "upload_immediately", "metadata"):
        yield from (Cell("heartbeat", f"field:commands.params.{name}", value) for value in VALUES)


def answer_of(cell: Cell, facts: dict[str, Any] | None = None, *, identity: str = "cmd_1") -> Answer:
    """Return the answer of a cell; ``facts`` are what a good answer holds, ``identity`` a fresh command's id."""
    kind, _, rest = cell.place.partition(":")
    status, headers = SUCCESS.get(cell.call, 200), _headers(cell.call)
    body = json.dumps(good_body(cell.call, facts)).encode()
    if kind == "field":
        return Answer(status, headers, _with_field(cell, rest, facts, identity))
    if kind == "header":
        kept = [(name, value) for name, value in headers if name.lower() != rest.lower()]
        return Answer(status, [*kept, (rest, HEADER_VALUES[cell.absurdity])], body)
    if kind == "error":
        code, _, name = rest.partition(":")
        if name == "Retry-After":
            return Answer(int(code), [(name, HEADER_VALUES[cell.absurdity])], b'{"error": "no"}')
        inner = f'{{"{name}": {VALUES[cell.absurdity]}}}'
        text = inner if name == "error" else f'{{"error": {inner}}}'
        return Answer(int(code), headers, text.encode())
    if kind == "wire":
        return Answer(status, [], b"", raw=WIRES[cell.absurdity](body))
    if kind == "speed":
        return Answer(status, headers, body, cell.absurdity)
    more, encoded = ENCODINGS[cell.absurdity](body)
    return Answer(status, [*headers, *more], encoded)


def _headers(call: str) -> list[tuple[str, str]]:
    return [("ETag", '"1"')] if call == "put" else [("Content-Type", "application/json")]


def _with_field(cell: Cell, name: str, facts: dict[str, Any] | None, identity: str) -> bytes:
    """Return a body with the absurd value written in the place of a field, which JSON itself may not be able to say."""
    mark = "\ufffcmark"
    body = good_body(cell.call, facts)
    if name.startswith("commands."):
        command = {**COMMAND, "id": identity, "params": dict(COMMAND["params"])}
        *path, last = name.split(".")[1:]
        target: dict[str, Any] = command["params"] if path else command
        target[last] = mark
        body["commands"] = [command]
    else:
        body[name] = mark
    return json.dumps(body).encode().replace(json.dumps(mark).encode(), VALUES[cell.absurdity].encode())
