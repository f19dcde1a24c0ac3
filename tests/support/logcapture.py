"""What was logged, as values instead of lines."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent import log
from agent.log.entry import Record


class _Capture(logging.Handler):
    def __init__(self, records: list[dict[str, Any]]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record, Record):
            level = record.levelname.lower()
            error = {"error": record.exc_info[1]} if record.exc_info else {}
            said = {"event": record.msg, "action": record.action, "log_level": level}
            self._records.append(said | error | dict(record.fields))


@contextmanager
def capture_logs() -> Iterator[list[dict[str, Any]]]:
    """Give a list that receives each record of ours: event, action, log_level, and its fields; no line is written."""
    records: list[dict[str, Any]] = []
    room = logging.getLogger(log.ROOM)
    level, propagate = room.level, room.propagate
    handler = _Capture(records)
    room.addHandler(handler)
    room.setLevel(logging.DEBUG)
    room.propagate = False
    try:
        yield records
    finally:
        room.removeHandler(handler)
        room.setLevel(level)
        room.propagate = propagate
