"""The door: where an answer of the API becomes values of bounded types, or counts as missing (api.md section 5).

Each field is decoded by itself, so that one that is absurd costs no other. Behind this nothing checks again.
"""

import re
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from agent import bounds

ABSURD = object()
"""In the place of a value that is beyond its limit, where leaving it out would change what the others mean."""
_EMPTY = msgspec.Raw(b"")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NULL = b"null"
_FIRMWARE = re.compile(r"firmware|manifest|\Aota", re.IGNORECASE)
_OTA = re.compile(r"(?<![a-z])ota(?![a-z])|Ota(?![a-z])|(?<![A-Z])OTA")
"""The word by itself: a quota and a total are no offers."""
_ESCAPED = 12
"""Bytes of a character in JSON at most: a pair of escapes."""
_COMMAND_KEYS = ("commands", "pending_commands", "command")
_MILLIS_FROM = 1e11  # year 5138 in seconds, 1973 in milliseconds

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_NUMBER = msgspec.json.Decoder(int | float)
_ANY = msgspec.json.Decoder()
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)

_HEADERS = frozenset(
    {
        *("date", "retry-after", "etag", "location"),
        *("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
    }
)
Headers = Sequence[tuple[bytes, bytes]]
"""Names and values as they came; a name may come twice."""


class Fields:
    """The fields of a JSON object; each is read with the type it is due in, and None when it is anything else."""

    def __init__(self, raw: Mapping[str, msgspec.Raw]) -> None:
        self._raw = raw

    def __contains__(self, name: str) -> bool:
        """Whether there is a value, of whatever type; null is none."""
        return bytes(self._raw.get(name, _EMPTY)) not in {b"", _NULL}

    def __bool__(self) -> bool:
        return bool(self._raw)

    def text(self, name: str, longest: int = bounds.WORD_CHARS) -> str | None:
        """Return a text of 1 to ``longest`` characters that can all be seen."""
        value = self._decoded(name, _TEXT, _ESCAPED * longest + 2)
        return value if isinstance(value, str) and bounds.is_word(value, longest) else None

    def words(self, name: str) -> str:
        """Return a message, cut to its limit; empty when there is none."""
        value = self._decoded(name, _TEXT, bounds.ANSWER_BYTES)
        return value[: bounds.TEXT_CHARS] if isinstance(value, str) else ""

    def number(self, name: str, most: int) -> int | None:
        """Return a whole number from 0 to ``most``, also where it is written as a text."""
        given = self.text(name, bounds.WORD_CHARS)
        if given is not None:
            return int(given) if given.isascii() and given.isdigit() and int(given) <= most else None
        value = self._decoded(name, _NUMBER, bounds.WORD_CHARS)
        return int(value) if isinstance(value, int | float) and 0 <= value <= most else None

    def moment(self, name: str) -> float | None:
        """Return an ISO 8601 time (UTC where it names no zone) or a unix time as unix seconds."""
        given = self.text(name, bounds.TIME_CHARS)
        return moment(given if given is not None else self._decoded(name, _NUMBER, bounds.WORD_CHARS))

    def inner(self, name: str) -> "Fields | None":
        """Return an object."""
        return _fields(bytes(self._raw.get(name, _EMPTY)))

    def items(self, name: str, most: int) -> "list[Fields]":
        """Return the objects of a list, as far as the first ``most`` elements go."""
        found = (_fields(bytes(raw)) for raw in self._elements(name)[:most])
        return [fields for fields in found if fields is not None]

    def headers(self, name: str) -> dict[str, object] | None:
        """Return an object of headers as it was given: None is what is no object, or too large for headers."""
        inner = self.inner(name)
        return None if inner is None else inner.values(bounds.UPLOAD_HEADERS, bounds.UPLOAD_HEADER_CHARS)

    def values(self, most: int, longest: int) -> dict[str, object] | None:
        """Return all values as they are, None when there are more than ``most``; one that is too long is ``ABSURD``."""
        if len(self._raw) > most:
            return None
        return {
            name: None if bytes(raw) == _NULL else self._decoded(name, _ANY, longest, ABSURD)
            for name, raw in self._raw.items()
        }

    def commands(self) -> dict[str, Any]:
        """Return what a heartbeat's answer asks for: commands under their keys, and offers of firmware."""
        found: dict[str, Any] = {}
        for key in _COMMAND_KEYS:
            if key in self:
                several = bytes(self._raw[key])[:1] == b"["
                given = self._elements(key)[: bounds.COMMANDS] if several else [self._raw[key]]
                found[key] = [_any(raw) for raw in given]
        offers = [key for key in self._raw if len(key) <= bounds.WORD_CHARS and is_manifest(key)]
        for key in offers[: bounds.MANIFESTS]:
            inner = self.inner(key)
            version = (self if inner is None else inner).text(key if inner is None else "version")
            if key in self:
                found[key] = version or "unknown"
        return found

    def _elements(self, name: str) -> list[msgspec.Raw]:
        try:
            return _LIST.decode(self._raw.get(name, _EMPTY))
        except _UNREADABLE:
            return []

    def _decoded(
        self, name: str, decoder: "msgspec.json.Decoder[Any]", most: int, otherwise: object = None
    ) -> Any:
        raw = bytes(self._raw.get(name, _EMPTY))
        if not raw or len(raw) > most:
            return otherwise
        try:
            return decoder.decode(raw)
        except _UNREADABLE:
            return otherwise


def fields_of(body: bytes) -> Fields | None:
    """Return the fields of a body that is a JSON object, else None; a byte order mark does no harm."""
    return _fields(body.removeprefix(_BYTE_ORDER_MARK))


def headers_of(given: Headers) -> dict[str, str]:
    """Return the headers that are ever looked at, by their small names; one beyond its limit is missing."""
    found: dict[str, str] = {}
    for raw_name, value in given:
        name = raw_name.lower().decode("latin-1")
        if name in _HEADERS:
            found[name] = f"{found[name]}, {_text(value)}" if name in found else _text(value)
    return {name: text for name, text in found.items() if 0 < len(text) <= bounds.HEADER_CHARS}


def coding_of(given: Headers) -> str:
    """Return how a body is coded; empty for as it is."""
    return ", ".join(_text(value) for name, value in given if name.lower() == b"content-encoding")


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def uncompressed(body: bytes, coding: str) -> bytes | None:
    """Return a body without the coding that nobody asked for; None when it cannot be undone within the limit."""
    coding = coding[: bounds.WORD_CHARS].strip().lower()
    if coding in {"", "identity"}:
        return body
    if coding not in {"gzip", "x-gzip", "deflate"}:
        return None
    try:
        return _inflated(body, zlib.MAX_WBITS | 32) if coding != "deflate" else _deflated(body)
    except zlib.error:
        return None


def moment(value: object) -> float | None:
    """Return a time as unix seconds when it is one of this program's lifetime; see ``Fields.moment``."""
    if isinstance(value, str):
        if len(value) > bounds.TIME_CHARS:
            return None
        try:
            given = datetime.fromisoformat(value.strip())
            unix = (given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value <= bounds.LATEST * 1000:
            return None
        unix = value / 1000 if value >= _MILLIS_FROM else float(value)
    else:
        return None
    return unix if 0 <= unix <= bounds.LATEST else None


def is_manifest(key: str) -> bool:
    """Tell whether a key of a heartbeat's answer names an offer of firmware (api.md section 6)."""
    return bool(_FIRMWARE.search(key) or _OTA.search(key))


def _fields(data: bytes) -> Fields | None:
    try:
        return Fields(_OBJECT.decode(data))
    except _UNREADABLE:
        return None


def _any(raw: msgspec.Raw) -> Any:
    """Return the value of a command; None when it is too large or cannot be read."""
    data = bytes(raw)
    if len(data) > bounds.COMMAND_BYTES:
        return None
    try:
        return _ANY.decode(data)
    except _UNREADABLE:
        return None


def _inflated(body: bytes, window: int) -> bytes | None:
    inflater = zlib.decompressobj(window)
    plain = inflater.decompress(body, bounds.ANSWER_BYTES + 1)
    return plain if len(plain) <= bounds.ANSWER_BYTES and inflater.eof else None


def _deflated(body: bytes) -> bytes | None:
    """Return what ``deflate`` means to servers: zlib's format, or bare."""
    try:
        return _inflated(body, zlib.MAX_WBITS)
    except zlib.error:
        return _inflated(body, -zlib.MAX_WBITS)
