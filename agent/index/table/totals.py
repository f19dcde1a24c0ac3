"""How many recordings there are of each kind, and how large: kept by SQLite itself, so that nobody counts rows."""

import sqlite3
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sqlite_utils import Database

KINDS = ("pending", "parked", "held", "uploaded")
_KIND = (
    "CASE WHEN {row}.completed_ms IS NOT NULL THEN 'uploaded' WHEN {row}.parked_ms IS NOT NULL THEN 'parked' "
    "WHEN {row}.held_ms IS NOT NULL THEN 'held' ELSE 'pending' END"
)
_CHANGE = (
    "UPDATE totals SET count = count {sign} 1, size_bytes = size_bytes {sign} {row}.size_bytes WHERE kind = "
)
_ADD = _CHANGE.format(sign="+", row="NEW") + _KIND.format(row="NEW")
_TAKE = _CHANGE.format(sign="-", row="OLD") + _KIND.format(row="OLD")
_WHAT_COUNTS = "completed_ms, parked_ms, held_ms, size_bytes"


class Total(NamedTuple):
    """Of the recordings of one kind."""

    recordings: int
    size_bytes: int


def create_totals(db: "Database") -> None:
    """Create the table ``totals`` and the triggers on ``recordings`` that keep it; a REPLACE would get past them."""
    db.execute(
        "CREATE TABLE totals (kind TEXT PRIMARY KEY, count INTEGER NOT NULL, size_bytes INTEGER NOT NULL)"
    )
    for kind in KINDS:
        db.execute("INSERT INTO totals VALUES (?, 0, 0)", (kind,))
    for event, actions in (
        ("INSERT", _ADD),
        ("DELETE", _TAKE),
        (f"UPDATE OF {_WHAT_COUNTS}", f"{_TAKE}; {_ADD}"),
    ):
        name = event.split()[0].lower()
        db.execute(f"CREATE TRIGGER recordings_{name} AFTER {event} ON recordings BEGIN {actions}; END")


def totals(connection: sqlite3.Connection) -> dict[str, Total]:
    """Return the totals by kind: pending, parked, held, uploaded."""
    rows = connection.execute("SELECT kind, count, size_bytes FROM totals")
    return {kind: Total(count, size_bytes) for kind, count, size_bytes in rows}


def totals_are_right(connection: sqlite3.Connection) -> bool:
    """Count all rows, and return whether the totals say the same."""
    counted = {kind: Total(0, 0) for kind in KINDS}
    rows = connection.execute(
        f"SELECT {_KIND.format(row='recordings')}, count(*), sum(size_bytes) FROM recordings GROUP BY 1"  # noqa: S608 - ours
    )
    counted |= {kind: Total(count, size_bytes) for kind, count, size_bytes in rows}
    return totals(connection) == counted
