"""The SQLite index of the outbox: one row per recording, found without reading the others."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from agent.clock import INSTANT, UNSYNCHRONIZED, Instant
from agent.index.table.database import (
    BUSY_SECONDS,
    ForeignIndex,
)
from agent.index.table.deliveries import Deliveries
from agent.index.table.open_index import OpenIndex
from agent.index.table.rows import UPLOAD_URL, entry_of, row_of
from agent.index.table.schema import (
    AGAIN_BOOT,
    AGAIN_MS,
    BACKING_OFF,
    DAY_MS,
    OVER,
    READY,
    REVIVABLE,
    UNSET_CLOCK,
    WAITING,
    WHERE,
)
from agent.index.table.totals import totals
from agent.outbox.entry import Entry, Status, number_given


class Store(OpenIndex):
    """The rows of the index; thread-safe, and safe beside other processes. Raises sqlite3.Error as SQLite gives it."""

    # writing

    def insert(self, entries: Sequence[Entry], step: str) -> int:
        """Add rows in one transaction, but none whose id is there already; return how many were added."""
        with self._transaction(step):
            return sum(self._insert(row_of(entry), "OR IGNORE") for entry in entries)

    def update(self, entry: Entry, step: str, *, synced: bool = True) -> None:
        """Write what differs (a column named costs pages of its indexes); add a row that is not there yet.

        Without ``synced`` a power cut may undo it: for what the sidecar says too, or what may be lost.
        """
        row = row_of(entry)
        with self._transaction(step, synced=synced):
            before = self._row(entry.id)
            if before is None:
                self._insert(row)
            elif changes := {name: value for name, value in row.items() if value != before.get(name)}:
                self._connection.execute(
                    f"UPDATE recordings SET {', '.join(f'{name} = ?' for name in changes)} WHERE id = ?",  # noqa: S608 - our fields
                    [*changes.values(), entry.id],
                )
                self._note_cleared(before[UPLOAD_URL] if UPLOAD_URL in changes else None)

    def _note_cleared(self, upload_url: str | None) -> None:
        """Remember that an upload URL, where there was one, is to go from the write-ahead log too."""
        self.leftovers = self.leftovers or upload_url is not None

    def _row(self, recording_id: str) -> dict[str, Any] | None:
        cursor = self._connection.execute("SELECT * FROM recordings WHERE id = ?", (recording_id,))
        row = cursor.fetchone()
        return (
            None if row is None else dict(zip((column[0] for column in cursor.description), row, strict=True))
        )

    def _insert(self, row: dict[str, Any], otherwise: str = "") -> int:
        """Add a row, and return how many were added; ``otherwise`` says what becomes of one that is there."""
        sql = f"INSERT {otherwise} INTO recordings({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"  # noqa: S608 - our fields
        return self._connection.execute(sql, list(row.values())).rowcount

    def delete(self, recording_id: str, step: str) -> None:
        """Remove a row; one that a rebuilt index does not have is no error."""
        sql = f"DELETE FROM recordings WHERE id = ? RETURNING {UPLOAD_URL}"  # noqa: S608 - our column
        with self._transaction(step):
            for (upload_url,) in self._connection.execute(sql, (recording_id,)).fetchall():
                self._note_cleared(upload_url)

    def set_pause(self, name: str, until: Instant | None) -> None:
        """Record until when something must rest; None ends it."""
        with self._transaction("pause.commit"):
            if until is None:
                self._connection.execute("DELETE FROM pauses WHERE name = ?", (name,))
            else:
                text = msgspec.json.encode(until).decode()
                self._connection.execute("INSERT OR REPLACE INTO pauses VALUES (?, ?)", (name, text))

    def forget_pauses(self) -> None:
        """Remove the pauses of recordings that nothing is asked for any more: delivered, parked, or gone."""
        if names := self._values(f"SELECT name FROM pauses WHERE {OVER}"):  # noqa: S608 - our condition
            with self._transaction("pause.forget"):
                self._connection.executemany("DELETE FROM pauses WHERE name = ?", [(name,) for name in names])

    # reading

    def pause(self, name: str) -> Instant | None:
        """Return until when something must rest."""
        with self._healing():
            row = self._connection.execute("SELECT until FROM pauses WHERE name = ?", (name,)).fetchone()
            try:
                return None if row is None else INSTANT.decode(row[0])
            except (msgspec.DecodeError, TypeError) as error:
                raise ForeignIndex("a pause is not what was written") from error

    def _query(
        self, where: str, arguments: tuple[Any, ...] = (), *, limit: int | None = None, order: str = "seq"
    ) -> list[Entry]:
        with self._healing():
            cursor = self._connection.execute(
                f"SELECT * FROM recordings WHERE {where} ORDER BY {order} LIMIT ?",  # noqa: S608 - conditions are ours
                (*arguments, -1 if limit is None else limit),
            )
            names = [column[0] for column in cursor.description]
            return [entry_of(dict(zip(names, row, strict=True))) for row in cursor]

    def get(self, recording_id: str) -> Entry | None:
        """Return one entry."""
        return next(iter(self._query("id = ?", (recording_id,))), None)

    def named(self, name: str) -> list[Entry]:
        """Return the entries that a person may mean: of that sequence number, else whose id begins so."""
        found = self._query("seq = ?", (number_given(name),))  # none has the number 0
        return found or self._query("id >= ? AND id < ?", (name, name + "\x7f"))

    def of_stems(self, stems: Sequence[str]) -> dict[str, Entry]:
        """Return the entries of some files, by stem."""
        marks = ", ".join("?" * len(stems))
        return {entry.stem: entry for entry in self._query(f"stem IN ({marks})", tuple(stems))}

    def known_stems(self, stems: Sequence[str]) -> set[str]:
        """Return which of some files have a row."""
        marks = ", ".join("?" * len(stems))
        sql = f"SELECT stem FROM recordings WHERE stem IN ({marks})"  # noqa: S608 - question marks
        return set(self._values(sql, tuple(stems)))

    def waiting(self) -> Iterator[Entry]:
        """Yield what waits for delivery, oldest first; rows may change meanwhile."""
        return self._pages(WAITING)

    def delivered(self, *, verified: bool, by: int | None = None) -> Iterator[Entry]:
        """Yield what was delivered, oldest first; rows may be deleted meanwhile.

        ``by`` leaves out what was delivered later than that (unix milliseconds), and what no right clock has dated.
        """
        dated = "" if by is None else f" AND completed_ms <= {by} AND completed_clock <> '{UNSYNCHRONIZED}'"
        return self._pages(f"completed_ms IS NOT NULL AND verified = {int(verified)}{dated}")

    def held(self) -> Iterator[Entry]:
        """Yield what is held, oldest first; rows may be released meanwhile."""
        return self._pages(WHERE[Status.HELD])

    def forget_upload_urls(self) -> None:
        """Empty the write-ahead log when upload URLs that were cleared are still written there.

        A reader of another process may stand in the way; then the next call does it.
        """
        if not self.leftovers:
            return
        with self._healing():
            self._disk.step("index.checkpoint")
            self._connection.execute("PRAGMA busy_timeout=0")
            try:
                self.leftovers = False  # before, lest one that comes meanwhile is missed
                busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                self.leftovers = self.leftovers or bool(busy)
            finally:
                self._connection.execute(f"PRAGMA busy_timeout={round(BUSY_SECONDS * 1000)}")

    def total_bytes(self) -> int:
        """Return how many bytes of audio the files of all rows hold."""
        with self._healing():
            return sum(total.size_bytes for total in totals(self._connection).values())

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
        with self._healing():
            known = totals(self._connection)
        return {name: known[name].recordings for name in ("pending", "parked", "held")}

    def undelivered_bytes(self) -> int:
        """Return how many bytes of audio the API has not confirmed."""
        with self._healing():
            return sum(totals(self._connection)[kind].size_bytes for kind in ("pending", "parked", "held"))

    def pending_bytes(self) -> int:
        """Return how many bytes of audio wait for delivery."""
        with self._healing():
            return totals(self._connection)["pending"].size_bytes

    def deliveries(self) -> Deliveries:
        """Return what asks how much was delivered when; it shares this index and what heals it."""
        return Deliveries(self._healing, self._transaction)

    # what is due

    def unset_clocks(self) -> list[str]:
        """Return what recordings that may be tried wait for: boots whose clock was not right, empty for nothing."""
        return self._values(
            f"WITH RECURSIVE clocks(clock) AS (SELECT min({UNSET_CLOCK}) FROM recordings WHERE {READY} "  # noqa: S608 - ours
            f"UNION ALL SELECT (SELECT min({UNSET_CLOCK}) FROM recordings "
            f"WHERE {READY} AND {UNSET_CLOCK} > clocks.clock) "
            "FROM clocks WHERE clocks.clock IS NOT NULL) SELECT clock FROM clocks WHERE clock IS NOT NULL"
        )

    def ready(self, clock: str, after_seq: int = -1, limit: int = 20) -> list[Entry]:
        """Return what waits for delivery and does not back off, oldest first, beyond a sequence number."""
        return self._query(f"{READY} AND {UNSET_CLOCK} = ? AND seq > ?", (clock, after_seq), limit=limit)

    def end_backoffs(self, boot_id: str, boot_ms: int, wall_ms: int) -> None:
        """Let what has backed off long enough be ready again.

        By this boot's clock; where that says nothing by the wall. By neither is a wait longer than a day.
        """
        over = (
            (f"{AGAIN_BOOT} = ? AND {AGAIN_MS} <= ?", (boot_id, boot_ms)),
            (f"{AGAIN_BOOT} = ? AND {AGAIN_MS} > ?", (boot_id, boot_ms + DAY_MS)),
            (
                f"{AGAIN_BOOT} < ? AND NOT next_attempt_ms BETWEEN ? AND ?",
                (boot_id, wall_ms, wall_ms + DAY_MS),
            ),
            (
                f"{AGAIN_BOOT} > ? AND NOT next_attempt_ms BETWEEN ? AND ?",
                (boot_id, wall_ms, wall_ms + DAY_MS),
            ),
        )
        for condition, arguments in over:
            where = f"WHERE {BACKING_OFF} AND {condition}"
            if self._values(f"SELECT 1 FROM recordings {where} LIMIT 1", arguments):  # noqa: S608 - ours
                with self._transaction("again.commit"):
                    self._connection.execute(
                        f"UPDATE recordings SET next_attempt = NULL, next_attempt_ms = NULL {where}",  # noqa: S608 - ours
                        arguments,
                    )

    def next_ready_ms(self, boot_id: str) -> int | None:
        """Return when, by this boot's clock, the first that backs off may be tried again."""
        sql = f"SELECT min({AGAIN_MS}) FROM recordings WHERE {BACKING_OFF} AND {AGAIN_BOOT} = ?"  # noqa: S608 - ours
        return next((value for value in self._values(sql, (boot_id,)) if value is not None), None)

    def parked_before(self, unix_ms: int, limit: int = 20) -> list[Entry]:
        """Return what was parked before a time and may be tried again without a person."""
        with self._healing():
            ids = self._values(
                f"SELECT id FROM recordings WHERE {REVIVABLE} AND parked_ms <= ? ORDER BY parked_ms LIMIT ?",  # noqa: S608 - ours
                (unix_ms, limit),
            )
            return [entry for entry in map(self.get, ids) if entry is not None]

    def _values(self, sql: str, arguments: tuple[Any, ...] = ()) -> list[Any]:
        with self._healing():
            return [row[0] for row in self._connection.execute(sql, arguments)]

    def oldest_waiting(self) -> Entry | None:
        """Return the first that waits for delivery."""
        return next(iter(self._query(WAITING, limit=1)), None)

    def last_delivery_ms(self) -> int | None:
        """Return when the newest delivery was confirmed."""
        with self._healing():
            value = self._connection.execute(
                "SELECT max(completed_ms) FROM recordings WHERE completed_ms IS NOT NULL"
            ).fetchone()[0]
        return None if value is None else int(value)
