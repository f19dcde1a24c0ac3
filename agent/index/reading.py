"""The recordings of a state directory, for readers: rows of the index, and files that have no row yet, alike."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from agent.disk import Disk
from agent.errors import AgentError
from agent.hints import typed
from agent.index.table.store import Store
from agent.outbox import sidecar
from agent.outbox.entry import WAITING, Entry, number_given
from agent.outbox.files import AUDIO, SIDECAR, Files, names
from agent.process.state_directory import StateDirectory
from agent.small_file import is_regular
from agent.status.process_documents import Queue


def open_for_reading(state: StateDirectory) -> Store | None:
    """Return the index for reading; None when there is none yet, or none that can be read."""
    if not is_regular(state.database):
        return None
    try:
        store = Store(state.database, Disk(), read_only=True)
    except sqlite3.Error:
        return None
    try:
        store.counts()
    except sqlite3.Error:  # it is just being made, or damaged
        store.close()
        return None
    return store


def find(store: Store | None, recording_id: str) -> Entry:
    """Return the recording of an id, of its beginning when that is unique, or of a number of ``queue list``.

    Raises:
        AgentError: there is none, or more than one.
    """
    found = store.named(recording_id) if store is not None and recording_id else []
    if len(found) != 1:
        raise not_one(len(found), recording_id)
    return found[0]


def not_one(count: int, recording_id: str) -> AgentError:
    """Return why no recording, or more than one, is not what a person has named."""
    if count:
        return AgentError(f"{count} recordings begin with {recording_id}", "write more of the id")
    return AgentError(f"there is no recording {recording_id}", f"{typed('queue list')} shows what there is")


class Recordings:
    """What there is, without a lock and without changing anything."""

    def __init__(self, store: Store | None, files: Files) -> None:
        self.store = store
        self.files = files

    def all(self) -> list[Entry]:
        """Return every recording, oldest first."""
        rows = list(self.store.all()) if self.store is not None else []
        known = {entry.stem for entry in rows}
        return sorted([*rows, *self._without_row(known)], key=lambda entry: entry.seq)

    def find(self, recording_id: str) -> Entry:
        """Return the recording that a person means (``find``); AgentError without one."""
        try:
            return find(self.store, recording_id)
        except AgentError:
            rows = self.store.named(recording_id) if self.store and recording_id else []
            number = number_given(recording_id)
            found = [
                entry
                for entry in self._without_row({row.stem for row in rows})
                if entry.seq == number or entry.id.startswith(recording_id)
            ]
            if rows or len(found) != 1 or not recording_id:
                raise
            return found[0]

    def get(self, recording_id: str) -> Entry | None:
        """Return the recording of a whole id."""
        entry = self.store.get(recording_id) if self.store is not None else None
        if entry is not None:
            return entry
        return next((entry for entry in self._without_row(set()) if entry.id == recording_id), None)

    def queue(self) -> Queue:
        """Return what waits."""
        rows = queue_of(self.store) if self.store is not None else Queue()
        fresh = [entry for entry in self.unknown() if entry.status in WAITING]
        oldest = [rows.oldest_pending_ms, *(entry.started.wall_ms for entry in fresh)]
        return Queue(
            pending=rows.pending + len(fresh),
            parked=rows.parked,
            held=rows.held,
            pending_bytes=rows.pending_bytes + sum(entry.size_bytes for entry in fresh),
            oldest_pending_ms=min((ms for ms in oldest if ms is not None), default=None),
            last_delivery_ms=rows.last_delivery_ms,
        )

    def unknown(self) -> Iterator[Entry]:
        """Yield the recordings in the outbox that have no row; asks the index for those stems alone."""
        stems = [name.removesuffix(SIDECAR) for name in names(self.files.outbox) if name.endswith(SIDECAR)]
        for begin in range(0, len(stems), 500):
            chunk = stems[begin : begin + 500]
            known = self.store.known_stems(chunk) if self.store is not None else set()
            for stem in chunk:
                if stem not in known:
                    yield from self._of(self.files.outbox, stem)

    def _without_row(self, known: set[str]) -> Iterator[Entry]:
        for folder in (self.files.outbox, self.files.sent, self.files.damaged):
            for name in names(folder):
                stem = name.removesuffix(SIDECAR)
                if name.endswith(SIDECAR) and stem not in known:
                    known.add(stem)
                    yield from self._of(folder, stem)

    @staticmethod
    def _of(folder: Path, stem: str) -> Iterator[Entry]:
        with contextlib.suppress(OSError):
            entry = sidecar.read(folder / f"{stem}{SIDECAR}")
            if entry is not None and (folder / f"{stem}{AUDIO}").exists():
                yield entry


@contextlib.contextmanager
def reading(state: StateDirectory) -> Iterator[Recordings]:
    """Open the recordings of a state directory for reading."""
    store = open_for_reading(state)
    try:
        yield Recordings(store, Files(state.path, Disk()))
    finally:
        if store is not None:
            store.close()


def queue_of(store: Store) -> Queue:
    """Return what waits by the index; sqlite3.Error as SQLite gives it."""
    counts, oldest = store.counts(), store.oldest_waiting()
    return Queue(
        pending=counts["pending"],
        parked=counts["parked"],
        held=counts["held"],
        pending_bytes=store.pending_bytes(),
        oldest_pending_ms=oldest.started.wall_ms if oldest is not None else None,
        last_delivery_ms=store.last_delivery_ms(),
    )
