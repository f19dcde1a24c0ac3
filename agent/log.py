"""Logging: structlog to one stream, as text for people or JSON for machines, and nothing secret in either.

Every record has an ``action``, so that text and JSON come from one call. Under systemd the journal keeps the
time, and a line begins with its priority instead (sd-daemon(3)).
"""

import datetime as dt
import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_SECRET_KEYS = frozenset({"token", "device_token", "grant_token", "authorization"})
_SECRETS = (
    (re.compile(r"dtok_[^\s\"'<>,;&]+"), "dtok_…"),
    (re.compile(r"\b(bearer)\s+[^\s\"',]+", re.IGNORECASE), r"\1 …"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "jwt…"),
    (re.compile(r"(\w+://[^\s\"'<>?#]*)\?[^\s\"'<>]*"), r"\1?…"),
    (re.compile(r"(\w+://)[^\s/\"'<>]*@"), r"\1…@"),
    (re.compile(r"(x-amz-[a-z-]+=)[^&\s\"']+", re.IGNORECASE), r"\1…"),
)


def redact(text: str) -> str:
    """Return ``text`` without tokens, the queries of URLs and signatures."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def utc_now() -> dt.datetime:
    """Return the wall clock in UTC."""
    return dt.datetime.now(dt.UTC)


def configure(
    level: str,
    format: str,  # noqa: A002 - the name of the setting
    stream: TextIO | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    now: Callable[[], dt.datetime] = utc_now,
    strict: bool = False,
) -> None:
    """Send all logging, the libraries' warnings too, to ``stream`` (standard error); may be called again.

    ``strict`` makes a record without an ``action`` an AssertionError, for tests.
    """
    stream = sys.stderr if stream is None else stream
    journal = is_journal(stream, environ)
    render = _Json(journal) if format == "json" else _Text(journal)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _Action(strict=strict),
            _Exceptions(with_traceback=level == "debug"),
            _without_secrets,
            _Time(now),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=_Lines(stream),
        cache_logger_on_first_use=False,  # a reload changes the level of loggers that exist
    )
    _bridge(LEVELS[level])


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether ``stream`` goes to the journal (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _Lines:
    """Writes one line a record; a stream that is gone loses the record and stops nothing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, *_: Any) -> "_Lines":
        return self

    def msg(self, line: str) -> None:
        try:
            with self._lock:
                self._stream.write(line + "\n")
                self._stream.flush()
        except (OSError, ValueError):  # nowhere is left to complain to
            return

    debug = info = warning = warn = error = critical = exception = fatal = log = msg


class _Action:
    """Sees that every record has an action."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if "action" not in event:
            if self._strict:
                raise AssertionError(f"the log record {event.get('event')!r} has no action")
            event["action"] = "unnamed"
        return event


class _Exceptions:
    """Turns ``exc_info`` into one line, ``error``, and on demand a ``traceback``."""

    def __init__(self, *, with_traceback: bool) -> None:
        self._with_traceback = with_traceback

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        given = event.pop("exc_info", None)
        if given is True:
            given = sys.exc_info()
        error = given[1] if isinstance(given, tuple) else given
        if isinstance(error, BaseException):
            event.setdefault("error", error)
            if self._with_traceback:
                event["traceback"] = "".join(traceback.format_exception(error)).rstrip()
        return event


class _Time:
    """Adds the time, in UTC with milliseconds."""

    def __init__(self, now: Callable[[], dt.datetime]) -> None:
        self._now = now

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["timestamp"] = f"{self._now().astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
        return event


class _Json:
    """One JSON object a line, beginning with timestamp, level, action, event."""

    def __init__(self, journal: bool) -> None:
        self._journal = journal

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> str:
        first = {key: event.pop(key) for key in ("timestamp", "level", "action", "event")}
        return (
            _prefix(self._journal, first["level"])
            + msgspec.json.encode(first | dict(event), enc_hook=_plain).decode()
        )


class _Text:
    """``time LEVEL action  sentence  key=value …`` on one line; a traceback follows on lines of its own."""

    def __init__(self, journal: bool) -> None:
        self._journal = journal

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> str:
        time, level = event.pop("timestamp"), event.pop("level")
        action, sentence = event.pop("action"), event.pop("event")
        trace = event.pop("traceback", "")
        start = _prefix(True, level) if self._journal else f"{time} {level.upper():<8} "
        pairs = [f"{key}={_word(value)}" for key, value in event.items()]
        line = "  ".join([f"{action}", _printable(str(sentence)), *([" ".join(pairs)] if pairs else [])])
        return (
            start + line + "".join(f"\n{'' if self._journal else '    '}{row}" for row in trace.splitlines())
        )


def _prefix(journal: bool, level: str) -> str:
    return f"<{_PRIORITIES[level]}>" if journal else ""


def _word(value: Any) -> str:
    """Return a value as one word, in quotes when it would not be one."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, dict | list | tuple):
        return msgspec.json.encode(value, enc_hook=_plain).decode()
    text = str(value)
    return (
        text
        if text.isprintable() and not set(" \"='") & set(text) and text
        else _printable(json.dumps(text, ensure_ascii=False))
    )


def _printable(text: str) -> str:
    """Return text on one line: a device's name must not write lines of its own."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _plain(value: Any) -> str:
    return str(value)


def _without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Take secrets out of every value: a last defence, not a licence."""
    return {key: _clean(key, value) for key, value in event.items()}


def _clean(key: object, value: Any) -> Any:
    if isinstance(key, str) and key.lower() in _SECRET_KEYS and value is not None:
        return "…"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, BaseException):
        text = " ".join(str(value).split())
        own = type(value).__module__.startswith("agent.")
        return redact(text if own and text else f"{type(value).__name__}: {text}".rstrip(": "))
    if isinstance(value, Mapping):
        return {str(name): _clean(name, inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(None, inner) for inner in value]
    return redact(str(value).encode("utf-8", "backslashreplace").decode())


class _Bridge(logging.Handler):
    """Hands the warnings of libraries to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record; ``action`` is ``library_warned`` or ``library_failed``."""
        serious = record.levelno >= logging.ERROR
        logger = structlog.get_logger()
        say = logger.error if serious else logger.warning
        try:
            action = "library_failed" if serious else "library_warned"
            say(record.getMessage(), action=action, library=record.name, exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - logging's own rule: a record that cannot be written stops nobody
            self.handleError(record)


def _bridge(level: int) -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Bridge)]:
        root.removeHandler(handler)
    root.addHandler(_Bridge(max(level, logging.WARNING)))
    root.setLevel(logging.WARNING)
