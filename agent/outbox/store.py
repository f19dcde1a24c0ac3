"""The SQLite index of the outbox: one row per recording, found without reading the others."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from sqlite_utils import Database, Migrations

from agent.host.disk import Disk
from agent.outbox.entry import Entry, Status
from agent.outbox.index import SUFFIXES, connect, is_damage, open_index, set_aside
from agent.recording.clock import Instant

migrations = Migrations("outbox")

_JSON_COLUMNS = ("metadata", "started", "request", "ticket", "next_attempt")

_WHERE = {
    Status.UPLOADED: "completed_ms IS NOT NULL",
    Status.PARKED: "completed_ms IS NULL AND parked_ms IS NOT NULL",
    Status.HELD: "completed_ms IS NULL AND parked_ms IS NULL AND held_ms IS NOT NULL",
}
WAITING = "completed_ms IS NULL AND parked_ms IS NULL AND held_ms IS NULL"


@migrations()
def first_schema(db: Database) -> None:
    """Create the table, its partial indexes and the sequence."""
    table = db.table("recordings")
    table.create(
        {
            "id": str,
            "seq": int,
            "session_id": str,
            "segment": int,
            "stem": str,
            "mode": str,
            "started": str,
            "sample_rate": int,
            "channels": int,
            "samples": int,
            "size_bytes": int,
            "sha256": str,
            "recovered": int,
            "gap_ms": int,
            "overflows": int,
            "clipped": int,
            "name": str,
            "metadata": str,
            "lineage": str,
            "request": str,
            "remote_id": str,
            "created_ms": int,
            "stored_ms": int,
            "asked_ms": int,
            "conflicts": int,
            "completed_ms": int,
            "completed_clock": str,
            "verified": int,
            "parked_ms": int,
            "parked_reason": str,
            "parked_tries": int,
            "held_ms": int,
            "ticket": str,
            "attempts": int,
            "last_error": str,
            "next_attempt_ms": int,
            "next_attempt": str,
        },
        pk="id",
        not_null={"seq", "stem", "started", "samples", "sha256"},
    )
    table.create_index(["seq"])
    table.create_index(["stem"], unique=True)
    for name, condition in (
        ("waiting", WAITING),
        ("parked", _WHERE[Status.PARKED]),
        ("held", _WHERE[Status.HELD]),
    ):
        db.execute(f"CREATE INDEX recordings_{name} ON recordings(seq) WHERE {condition}")
    db.execute("CREATE INDEX recordings_completed ON recordings(completed_ms) WHERE completed_ms IS NOT NULL")
    db.table("sequence").create({"name": str, "value": int}, pk="name")
    db.table("pauses").create({"name": str, "until": str}, pk="name")


class Store:
    """The index; thread-safe, and safe beside other processes.

    Raises sqlite3.Error as SQLite gives it. When that means damage, or the file was deleted or replaced beneath us,
    a new index is begun at once, ``unsettled`` is set, and the rows come back by reconciliation.
    """

    def __init__(
        self, path: Path, disk: Disk, wall: Callable[[], float] = time.time, *, read_only: bool = False
    ) -> None:
        self.path = path
        self.unsettled = threading.Event()
        """Set when files and rows may disagree: reconciliation is due."""
        self._disk = disk
        self._wall = wall
        self._lock = threading.RLock()
        self._read_only = read_only
        self._open()

    def _open(self) -> None:
        if self._read_only:
            self._connection = connect(self.path, read_only=True)
        else:
            self._connection = open_index(self.path, migrations, self._disk, self._wall)
            self._inode = self.path.stat().st_ino
        self._db = Database(self._connection, execute_plugins=False)

    def close(self) -> None:
        """Close the index; its write-ahead log is folded in when no other process has it open."""
        with self._lock:
            self._disk.step("index.close")
            self._connection.close()

    def check_in_place(self) -> None:
        """Begin anew when the file was deleted or replaced while it was open: SQLite would not notice."""
        with self._lock:
            try:
                same = self.path.stat().st_ino == self._inode
            except FileNotFoundError:
                same = False
            if not same:
                for suffix in SUFFIXES[1:]:  # they belong to the file that is gone
                    companion = self.path.with_name(self.path.name + suffix)
                    self._disk.unlink(companion, f"index.unlink{suffix}")
                self._begin_anew()

    def _begin_anew(self) -> None:
        self._disk.step("index.begin_anew")
        self._connection.close()
        self._open()
        self.unsettled.set()

    @contextmanager
    def _healing(self) -> Iterator[None]:
        """Begin a new index when an operation finds this one damaged; the error is raised all the same."""
        with self._lock:
            try:
                yield
            except sqlite3.DatabaseError as error:
                if not self._read_only and is_damage(error):
                    self._connection.close()
                    set_aside(self.path, self._disk, self._wall, str(error))
                    self._begin_anew()
                raise

    @contextmanager
    def _transaction(self, step: str) -> Iterator[None]:
        with self._healing():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._disk.step(step)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    # writing

    def next_sequence(self, at_least: int = 0) -> int:
        """Return the next number of the sequence, never less than ``at_least``; durable."""
        with self._transaction("open.commit_sequence"):
            row = self._connection.execute(
                "INSERT INTO sequence(name, value) VALUES ('recordings', max(1, ?1)) "
                "ON CONFLICT(name) DO UPDATE SET value = max(value + 1, ?1) RETURNING value",
                (at_least,),
            ).fetchone()
        return int(row[0])

    def insert(self, entries: Sequence[Entry], step: str) -> int:
        """Add rows in one transaction, but none whose id is there already; return how many were added."""
        added = 0
        with self._transaction(step):
            for entry in entries:
                row = _row(entry)
                marks = ", ".join("?" * len(row))
                cursor = self._connection.execute(
                    f"INSERT OR IGNORE INTO recordings({', '.join(row)}) VALUES ({marks})",  # noqa: S608 - our fields
                    list(row.values()),
                )
                added += cursor.rowcount
        return added

    def update(self, entry: Entry, step: str) -> None:
        """Write all of an entry's columns; a row that a rebuilt index does not have yet is added."""
        row = _row(entry)
        with self._transaction(step):
            self._connection.execute(
                f"INSERT OR REPLACE INTO recordings({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",  # noqa: S608 - our fields
                list(row.values()),
            )

    def delete(self, recording_id: str, step: str) -> None:
        """Remove a row."""
        with self._transaction(step):
            self._db.table("recordings").delete(recording_id)

    def set_pause(self, name: str, until: Instant | None) -> None:
        """Record until when something must rest; None ends it."""
        with self._transaction("pause.commit"):
            if until is None:
                self._connection.execute("DELETE FROM pauses WHERE name = ?", (name,))
            else:
                text = msgspec.json.encode(until).decode()
                self._connection.execute("INSERT OR REPLACE INTO pauses VALUES (?, ?)", (name, text))

    # reading

    def pause(self, name: str) -> Instant | None:
        """Return until when something must rest."""
        with self._healing():
            row = self._connection.execute("SELECT until FROM pauses WHERE name = ?", (name,)).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=Instant)

    def _query(self, where: str, arguments: tuple[Any, ...] = (), *, limit: int | None = None) -> list[Entry]:
        with self._healing():
            cursor = self._connection.execute(
                f"SELECT * FROM recordings WHERE {where} ORDER BY seq LIMIT ?",  # noqa: S608 - conditions are ours
                (*arguments, -1 if limit is None else limit),
            )
            names = [column[0] for column in cursor.description]
            return [_entry(dict(zip(names, row, strict=True))) for row in cursor]

    def get(self, recording_id: str) -> Entry | None:
        """Return one entry."""
        return next(iter(self._query("id = ?", (recording_id,))), None)

    def with_prefix(self, prefix: str) -> list[Entry]:
        """Return the entries whose id begins with ``prefix``."""
        return self._query("id >= ? AND id < ?", (prefix, prefix + "\x7f"))

    def of_stem(self, stem: str) -> Entry | None:
        """Return the entry of a file."""
        return next(iter(self._query("stem = ?", (stem,))), None)

    def of_stems(self, stems: Sequence[str]) -> dict[str, Entry]:
        """Return the entries of some files, by stem."""
        marks = ", ".join("?" * len(stems))
        return {entry.stem: entry for entry in self._query(f"stem IN ({marks})", tuple(stems))}

    def newest_continuous(self, up_to_seq: int) -> Entry | None:
        """Return the newest recording, up to a sequence number, that nobody had to ask for."""
        found = self._query(
            "seq = (SELECT max(seq) FROM recordings WHERE seq <= ? AND mode IN ('continuous', 'schedule'))",
            (up_to_seq,),
        )
        return next(iter(found), None)

    def waiting(self, after_seq: int = -1, limit: int = 100) -> list[Entry]:
        """Return what waits for delivery, oldest first, beyond a sequence number."""
        return self._query(f"{WAITING} AND seq > ?", (after_seq,), limit=limit)

    def of_status(self, status: Status) -> list[Entry]:
        """Return the uploaded, parked or held entries, oldest first."""
        return self._query(_WHERE[status])

    def delivered_before(self, unix_ms: int) -> list[Entry]:
        """Return what was delivered before a time, at most 500 of them."""
        return self._query("completed_ms IS NOT NULL AND completed_ms <= ?", (unix_ms,), limit=500)

    def delivered(self, *, verified: bool) -> Iterator[Entry]:
        """Yield what was delivered, oldest first; rows may be deleted meanwhile."""
        return self._pages(f"completed_ms IS NOT NULL AND verified = {int(verified)}")

    def pending_and_parked(self) -> Iterator[Entry]:
        """Yield what is not delivered and not held, oldest first; rows may be deleted meanwhile."""
        return self._pages(f"({WAITING}) OR ({_WHERE[Status.PARKED]})")

    def total_bytes(self) -> int:
        """Return how many bytes of audio the files of all rows hold."""
        with self._healing():
            value = self._connection.execute("SELECT total(size_bytes) FROM recordings").fetchone()[0]
        return int(value)

    def _pages(self, condition: str) -> Iterator[Entry]:
        seq = -1
        while page := self._query(f"({condition}) AND seq > ?", (seq,), limit=200):
            yield from page
            seq = page[-1].seq

    def all(self) -> Iterator[Entry]:
        """Yield every entry, oldest first, a page at a time."""
        return self._pages("TRUE")

    def counts(self) -> dict[str, int]:
        """Return how many are pending, parked and held."""
        conditions = {"pending": WAITING, "parked": _WHERE[Status.PARKED], "held": _WHERE[Status.HELD]}
        with self._healing():
            return {
                name: int(
                    self._connection.execute(
                        f"SELECT count(*) FROM recordings WHERE {condition}"  # noqa: S608 - conditions are ours
                    ).fetchone()[0]
                )
                for name, condition in conditions.items()
            }

    def oldest_waiting(self) -> Entry | None:
        """Return the first that waits for delivery."""
        return next(iter(self.waiting(limit=1)), None)

    def last_delivery_ms(self) -> int | None:
        """Return when the newest delivery was confirmed."""
        with self._healing():
            value = self._connection.execute(
                "SELECT max(completed_ms) FROM recordings WHERE completed_ms IS NOT NULL"
            ).fetchone()[0]
        return None if value is None else int(value)


def _row(entry: Entry) -> dict[str, Any]:
    row = msgspec.structs.asdict(entry)
    for column in _JSON_COLUMNS:
        if row[column] is not None:
            row[column] = msgspec.json.encode(row[column]).decode()
    return row


def _entry(row: dict[str, Any]) -> Entry:
    for column in _JSON_COLUMNS:
        if row[column] is not None:
            row[column] = msgspec.json.decode(row[column])
    return msgspec.convert(row, Entry, strict=False)
