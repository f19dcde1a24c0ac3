"""A log line as text for people or JSON for machines; neither holds a character that a terminal obeys."""

import json
import logging
from typing import Any, Protocol

import msgspec

from agent import text

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


class Render(Protocol):
    """Makes a line of an entry."""

    @property
    def encoding(self) -> str | None:
        """The encoding that the line must be written in; None for the stream's own."""

    def __call__(self, entry: dict[str, Any]) -> str:
        """Return the line, without its end."""


def json_render(*, journal: bool) -> Render:
    """Return what writes one JSON object a line, beginning with timestamp, level, action, event."""
    from pythonjsonlogger.core import RESERVED_ATTRS  # noqa: PLC0415 - 2 MiB that text does without
    from pythonjsonlogger.msgspec import MsgspecFormatter  # noqa: PLC0415 - likewise

    return _JsonRender(MsgspecFormatter([], reserved_attrs=RESERVED_ATTRS, json_default=str), journal=journal)


class _JsonRender:
    encoding = "utf-8"

    def __init__(self, formatter: logging.Formatter, *, journal: bool) -> None:
        self._formatter = formatter
        self._journal = journal

    def __call__(self, entry: dict[str, Any]) -> str:
        line = self._formatter.format(logging.LogRecord("", 0, "", 0, entry, None, None))
        line = text.harmless(line)
        return _prefix(entry["level"]) + line if self._journal else line


class TextRender:
    """``time LEVEL action  sentence  key=value …`` on one line; a traceback follows on lines of its own."""

    encoding = None

    def __init__(self, *, journal: bool) -> None:
        self._journal = journal

    def __call__(self, entry: dict[str, Any]) -> str:
        """Return the line, or with a traceback the lines."""
        fields = dict(entry)
        time, level, action, event = (fields.pop(key) for key in ("timestamp", "level", "action", "event"))
        trace = fields.pop("traceback", "")
        start = _prefix(level) if self._journal else f"{time} {level.upper():<8} "
        pairs = [f"{key}={_word(value)}" for key, value in fields.items()]
        line = "  ".join([_printable(action), _printable(event), *([" ".join(pairs)] if pairs else [])])
        row_start = start if self._journal else "    "
        return start + line + "".join(f"\n{row_start}{_printable(row)}" for row in trace.splitlines())


def _prefix(level: str) -> str:
    return f"<{PRIORITIES[level]}>"


def _word(value: Any) -> str:
    """Return a value as one word, in quotes when it would not be one."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, dict | list):
        return _printable(msgspec.json.encode(value, enc_hook=str).decode())
    text = str(value)
    return (
        text
        if text.isprintable() and not set(" \"='") & set(text) and text
        else _printable(json.dumps(text, ensure_ascii=False))
    )


def _printable(text: str) -> str:
    """Return text on one line: a device's name must not write lines of its own."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
