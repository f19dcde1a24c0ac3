"""The open database of the index: begun anew when it is damaged, deleted or replaced, let go of when the disk fails."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.disk import Disk
from agent.index.table.database import (
    ForeignIndex,
    connect,
    identity,
    is_damage,
    open_index,
    remove_companions,
    set_aside,
)
from agent.index.table.schema import SCHEMA


class OpenIndex:
    """Thread-safe, and safe beside other processes. Raises sqlite3.Error as SQLite gives it.

    When that means damage, or the file was deleted or replaced beneath us, a new index is begun at once,
    ``needs_reconcile`` is set, and the rows come back by reconciliation.
    """

    def __init__(
        self, path: Path, disk: Disk, wall: Callable[[], float] = time.time, *, read_only: bool = False
    ) -> None:
        self.path = path
        self.needs_reconcile = threading.Event()
        """Set when files and rows may disagree: reconciliation is due."""
        self._disk = disk
        self._wall = wall
        self._lock = threading.RLock()
        self._read_only = read_only
        self.leftovers = not read_only
        """Whether the write-ahead log may hold an upload URL that was cleared."""
        self._is_let_go = False
        self._open()

    def _open(self) -> None:
        self._syncs = True
        """Whether commits are synced, as ``connect`` has it; else what is written ahead reaches the disk later."""
        if self._read_only:
            self._connection = connect(self.path, read_only=True)
        else:
            self._connection = open_index(self.path, SCHEMA, self._disk, self._wall)
            self._file = identity(self.path)

    def _sync_commits(self, synced: bool) -> None:
        if synced is not self._syncs:
            self._connection.execute(f"PRAGMA synchronous={'FULL' if synced else 'NORMAL'}")
            self._syncs = synced

    def close(self) -> None:
        """Close the index; its write-ahead log is folded in when no other process has it open."""
        with self._lock:
            self._disk.step("index.close")
            self._connection.close()

    def check_in_place(self) -> None:
        """Open what was let go of; begin anew when the file was deleted or replaced, which SQLite would not notice."""
        with self._lock:
            if self._is_let_go:
                self._open()
                self._is_let_go = False
                self.needs_reconcile.set()
            elif (now := identity(self.path)) is None or now != self._file:
                if now is None or self._file is None or now[0] == self._file[0]:  # another disk has its own
                    remove_companions(self.path, self._disk)
                self._begin_anew()

    def let_go(self) -> None:
        """Close the index until ``check_in_place``: what is open keeps a disk that fails from being repaired."""
        with self._lock:
            self._is_let_go = True
            self._connection.close()

    def _begin_anew(self) -> None:
        self._disk.step("index.begin_anew")
        self._connection.close()
        self._open()
        self.needs_reconcile.set()

    @contextmanager
    def _healing(self) -> Iterator[sqlite3.Connection]:
        """Begin a new index when an operation finds this one damaged; the error is raised all the same."""
        with self._lock:
            try:
                yield self._connection
            except UnicodeDecodeError as error:
                self._heal(str(error))
                raise ForeignIndex("the index contains invalid UTF-8") from error
            except sqlite3.DatabaseError as error:
                if is_damage(error):
                    self._heal(str(error))
                raise

    def _heal(self, reason: str) -> None:
        if self._read_only:
            return
        self._connection.close()
        self._file = None  # should the disk refuse now, ``check_in_place`` begins anew
        set_aside(self.path, self._disk, self._wall, reason)
        self._begin_anew()

    @contextmanager
    def _transaction(self, step: str, *, synced: bool = True) -> Iterator[sqlite3.Connection]:
        """Commit what the block does, all of it or nothing; without ``synced`` a power cut may undo it, in order."""
        with self._healing():
            self._sync_commits(synced)
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._disk.step(step)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
