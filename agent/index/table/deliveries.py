"""How much was delivered when, counted by SQLite itself with the commit that says so: once, whatever is killed.

A row may be pruned a minute after its delivery, so the count is not of rows. It is kept by quarter hours of unix time:
every zone's midnight is the end of one. An index that was lost counts what still lies in ``sent/``.
"""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sqlite_utils import Database

QUARTER_MS = 900_000
_LENGTH = "coalesce({row}samples * 1000 / {row}sample_rate, 0)"
_ENDED = f"json_extract(started, '$.wall_ms') + {_LENGTH.format(row='')}"
_COUNT = (
    f"INSERT INTO deliveries VALUES (NEW.completed_ms / {QUARTER_MS}, 1, {_LENGTH.format(row='NEW.')}) "  # noqa: S608 - ours
    "ON CONFLICT(quarter) DO UPDATE SET count = count + 1, milliseconds = milliseconds + excluded.milliseconds"
)


class Sum(NamedTuple):
    """Of some recordings."""

    recordings: int
    milliseconds: int


def create_deliveries(db: "Database") -> None:
    """Create the table ``deliveries`` and the triggers that keep it, and count what was delivered before."""
    db.execute(
        "CREATE TABLE deliveries (quarter INTEGER PRIMARY KEY, count INTEGER NOT NULL, milliseconds INTEGER NOT NULL)"
    )
    for event, condition in (
        ("INSERT", "NEW.completed_ms IS NOT NULL"),
        ("UPDATE OF completed_ms", "OLD.completed_ms IS NULL AND NEW.completed_ms IS NOT NULL"),
    ):
        name = event.split()[0].lower()
        db.execute(
            f"CREATE TRIGGER deliveries_{name} AFTER {event} ON recordings WHEN {condition} BEGIN {_COUNT}; END"
        )
    db.execute(
        f"INSERT INTO deliveries SELECT completed_ms / {QUARTER_MS}, count(*), sum({_LENGTH.format(row='')}) "  # noqa: S608 - ours
        "FROM recordings WHERE completed_ms IS NOT NULL GROUP BY 1"
    )


class Deliveries:
    """Asks an index, and lets it forget; times are unix milliseconds. Raises sqlite3.Error as SQLite gives it."""

    def __init__(
        self,
        reading: Callable[[], AbstractContextManager[sqlite3.Connection]],
        changing: Callable[[str], AbstractContextManager[sqlite3.Connection]],
    ) -> None:
        self._reading = reading
        self._changing = changing

    def between(self, begin: int, end: int) -> Sum:
        """Return what was delivered from one quarter of an hour to before another."""
        sql = "SELECT count, milliseconds FROM deliveries WHERE quarter >= ? AND quarter < ?"
        return self._sum(
            f"SELECT sum(count), sum(milliseconds) FROM ({sql})",  # noqa: S608 - ours
            (begin // QUARTER_MS, end // QUARTER_MS),
        )

    def waiting_at(self, moment: int) -> Sum:
        """Return what had been recorded by a moment and was not delivered then, of what is there now."""
        return self._sum(
            f"SELECT count(*), sum({_LENGTH.format(row='')}) FROM recordings "  # noqa: S608 - ours
            f"WHERE (completed_ms IS NULL OR completed_ms >= ?) AND {_ENDED} <= ?",
            (moment, moment),
        )

    def forget(self, before: int, after: int) -> None:
        """Forget what was delivered before one moment, or after another: there the clock was wrong."""
        with self._changing("deliveries.commit") as connection:
            connection.execute(
                "DELETE FROM deliveries WHERE quarter < ? OR quarter > ?",
                (before // QUARTER_MS, after // QUARTER_MS),
            )

    def _sum(self, sql: str, arguments: tuple[int, ...]) -> Sum:
        with self._reading() as connection:
            count, milliseconds = connection.execute(sql, arguments).fetchone()
        return Sum(count or 0, milliseconds or 0)
