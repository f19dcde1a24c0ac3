"""One log record as plain values: without secrets, each of bounded length, safe to hand to another thread."""

import datetime as dt
import itertools
import logging
import re
import traceback
from collections.abc import Callable, Mapping
from typing import Any

VALUE_CHARS = 1024
"""Of one text; a line is bounded by this and by how many values it may have."""
FIELDS, ITEMS, DEPTH = 24, 16, 3
"""How many fields of a record, how many items of one container, and how many containers in each other are shown."""
ENTRY_CHARS = 4096
"""Of all values of one record together."""
TRACEBACK_CHARS = 8192
"""Of a traceback, at level debug only; its end tells more."""
KEY_CHARS = 64
_UNTOUCHED_CHARS = 4 * VALUE_CHARS
"""How much of a text is looked at: what is cut off needs no cleaning, and a secret at the cut is cut twice."""
_BITS = 64

_SECRET_KEYS = frozenset({"token", "device_token", "grant_token", "authorization"})
_SECRETS = (
    (re.compile(r"dtok_[^\s\"'<>,;&]+"), "dtok_…"),
    (re.compile(r"\b(bearer)\s+[^\s\"',]+", re.IGNORECASE), r"\1 …"),
    (re.compile(r"(?<![\w-])eyJ[\w-]+\.[\w-]+\.[\w-]*"), "jwt…"),
    (re.compile(r"(x-amz-[a-z-]{1,64}=)[^&\s\"']+", re.IGNORECASE), r"\1…"),
)
_WORD = re.compile(r"[^\s\"'<>]+")


def redact(text: str) -> str:
    """Return ``text`` without tokens, the queries of URLs and signatures, in time linear in its length."""
    text = _WORD.sub(_redact_url, text)
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def _redact_url(found: re.Match[str]) -> str:
    """Return a word without the user and the query of the URLs in it."""
    word = found[0]
    first, separator, rest = word.partition("://")
    if not separator:
        return word
    rest, query, _ = rest.partition("?")
    parts = []
    for part in rest.split("://"):
        authority, slash, path = part.partition("/")
        user, at, host = authority.rpartition("@")
        parts.append(f"{'…' if user or at else ''}{at}{host}{slash}{path}")
    return first + "".join(f"://{part}" for part in parts) + ("?…" if query else "")


class Record(logging.LogRecord):
    """A record of ours: a sentence, its action, and its fields."""

    def __init__(
        self,
        name: str,
        level: int,
        event: str,
        action: str,
        fields: Mapping[str, object],
        error: BaseException | None = None,
    ) -> None:
        exc_info = (type(error), error, error.__traceback__) if error is not None else None
        super().__init__(name, level, "", 0, event, None, exc_info)
        self.action = action
        self.fields = fields

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        """Return the sentence, in which a percent sign means nothing."""
        return str(self.msg)


def entry_of(
    record: logging.LogRecord, now: Callable[[], dt.datetime], *, with_traceback: bool
) -> dict[str, Any]:
    """Return what a line of this record says: timestamp, level, action, event, then its fields.

    A record of a library has the action ``library_warned`` or ``library_failed``.
    """
    if isinstance(record, Record):
        action, fields = record.action, dict(record.fields)
    else:
        action = "library_failed" if record.levelno >= logging.ERROR else "library_warned"
        fields = {"library": record.name}
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        fields.setdefault("error", error)
    cleaner = _Cleaner()
    entry = {
        "timestamp": f"{now().astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
        "level": record.levelname.lower(),
        "action": cleaner.clean(None, action),
        "event": cleaner.clean(None, _message(record)),
    }
    for key, value in itertools.islice(fields.items(), FIELDS):
        entry[_text(key)[:KEY_CHARS]] = cleaner.clean(key, value)
    if error is not None and with_traceback:
        trace = "".join(traceback.format_exception(error)).rstrip()
        entry["traceback"] = _valid(redact(trace[-TRACEBACK_CHARS:]))
    return entry


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a library's arguments do not fit its sentence
        return _text(record.msg)


class _Cleaner:
    """Makes the values of one record plain, short and free of secrets: a last defence, not a licence."""

    def __init__(self) -> None:
        self._left = ENTRY_CHARS

    def clean(self, key: object, value: Any, depth: int = 0) -> Any:
        if isinstance(key, str) and key.lower() in _SECRET_KEYS and value is not None:
            return "…"
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            return value if value.bit_length() < _BITS else f"a number of {value.bit_length()} bits"
        if isinstance(value, Mapping | list | tuple | set | frozenset) and depth >= DEPTH:
            return "…"
        if isinstance(value, Mapping):
            pairs = itertools.islice(value.items(), ITEMS)
            return {
                self._cut(_text(name), KEY_CHARS): self.clean(name, inner, depth + 1) for name, inner in pairs
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self.clean(None, inner, depth + 1) for inner in itertools.islice(value, ITEMS)]
        if isinstance(value, BaseException):
            text = " ".join(_text(value)[:_UNTOUCHED_CHARS].split())
            own = type(value).__module__.startswith("agent.")
            return self._cut(text if own and text else f"{type(value).__name__}: {text}".rstrip(": "))
        return self._cut(_text(value))

    def _cut(self, text: str, limit: int = VALUE_CHARS) -> str:
        limit = min(limit, max(self._left, 1))
        text = _valid(redact(text[:_UNTOUCHED_CHARS]))
        text = text if len(text) <= limit else f"{text[: limit - 1]}…"
        self._left -= len(text)
        return text


def _text(value: object) -> str:
    """Return a value as text; a value of a library may raise even at that."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - opuslib's errors do, and nobody may fail because something is logged
        return f"<{type(value).__name__}>"


def _valid(text: str) -> str:
    r"""Return text that every encoding of Unicode takes: half a character, or a byte that was none, as ``\udc80``."""
    return text.encode("utf-8", "backslashreplace").decode()
