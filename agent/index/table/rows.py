"""An entry as a row of the index, with a checksum: SQLite finds damage to its pages, not to what they say."""

import zlib
from typing import Any

import msgspec

from agent.index.table.database import ForeignIndex
from agent.outbox.entry import STORED_NAMES, Entry, sane

CHECKSUM = "checksum"
_UNCHECKED = frozenset({CHECKSUM, "next_attempt", "next_attempt_ms"})
"""Waits are ended by the hundred, in the index alone (``Store.end_backoffs``)."""
UPLOAD_URL = STORED_NAMES["upload_url"]
_JSON_COLUMNS = ("metadata", "started", "request", UPLOAD_URL, "next_attempt")


def row_of(entry: Entry) -> dict[str, Any]:
    """Return the columns of an entry."""
    row = {column: getattr(entry, name) for name, column in STORED_NAMES.items()}
    for column in _JSON_COLUMNS:
        if row[column] is not None:
            row[column] = msgspec.json.encode(row[column]).decode()
    row[CHECKSUM] = _checksum(row)
    return row


def entry_of(row: dict[str, Any]) -> Entry:
    """Read an entry back.

    Raises:
        ForeignIndex: the row is not what was written.
    """
    try:
        if row.pop(CHECKSUM) != _checksum(row):
            raise ForeignIndex("a row is not what was written")
        for column in _JSON_COLUMNS:
            if row[column] is not None:
                row[column] = msgspec.json.decode(row[column])
        return sane(msgspec.convert(row, Entry, strict=False))
    except (msgspec.DecodeError, TypeError, KeyError) as error:
        raise ForeignIndex("a row is not what was written") from error


def _checksum(row: dict[str, Any]) -> int:
    """Return the CRC-32 of all that is not null: a column that a later schema adds changes nothing."""
    facts = sorted(
        (name, int(value) if isinstance(value, bool) else value)
        for name, value in row.items()
        if value is not None and name not in _UNCHECKED
    )
    return zlib.crc32(msgspec.json.encode(facts))
