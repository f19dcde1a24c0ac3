"""The outbox as the deliverer has it: every change of an entry goes through here, in order."""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from agent.clock import Instant
from agent.disk import Disk
from agent.errors import AgentError
from agent.gaps.log import Cause
from agent.index.owners import OneOwner, Owners
from agent.index.table.store import Store
from agent.log import get_logger
from agent.outbox.entry import WAITING, Entry, Status, changed
from agent.outbox.files import DAMAGED, Files
from agent.outbox.locks import claimed
from agent.recording.asked.marks import Marks
from agent.recording.days.gapsfile import let_go
from agent.recording.segment import FinishedSegment
from agent.small_file import SHORT_OF_MEANS

log = get_logger(__name__)


NOTHING_PENDING: dict[str, None] = {"upload_url": None, "next_attempt": None, "next_attempt_ms": None}
"""What a recording has that is not going to be tried."""


def ignore(_entry: Entry) -> None:
    """Do nothing with it."""


class Outbox:
    """Files and index of one state directory; may be used by several threads.

    Raises OSError and sqlite3.Error as the disk and SQLite give them; an entry whose change failed is unchanged in
    the index, and reconciliation completes what was begun.
    """

    def __init__(
        self,
        root: Path,
        disk: Disk,
        now: Callable[[], Instant],
        on_deleted: Callable[[Entry], None] = ignore,
        owners: Owners = OneOwner(),  # noqa: B008 - it has no state
    ) -> None:
        self.files = Files(root, disk)
        self.store = Store(root / "outbox.db", disk, lambda: now().wall_ms / 1000)
        self._root = root
        self._disk = disk
        self._now = now
        self._on_deleted = on_deleted
        self.owners = owners
        self.moving = threading.RLock()
        """Held while files and index change together, so that reconciliation never sees a half-done move."""
        self.arrived = threading.Event()
        """Set whenever something new may be delivered."""

    def close(self) -> None:
        """Close the index."""
        self.store.close()

    def counts(self) -> dict[str, int]:
        """Return how many recordings are pending, parked and held; zeros while the index fails, which others say."""
        try:
            return self.store.counts()
        except (OSError, sqlite3.Error):
            return {"pending": 0, "parked": 0, "held": 0}

    def now_ms(self) -> int:
        """Return the wall clock in unix milliseconds, as facts record it."""
        return self._now().wall_ms

    def accept(self, segment: FinishedSegment) -> Entry:
        """Finish a repaired file (procedure Finish); an index that fails gets its row by reconciliation."""
        marks = Marks(self._root, self._disk).of(segment.start.id)
        entry = self._held_if_foreign(Entry.of(segment, marks))
        with self.moving:
            self.files.finish(segment, entry)
            try:
                self.store.insert([entry], "finish.commit")
            except sqlite3.Error as error:
                self._index_failed(error)
        self.arrived.set()
        return entry

    def _index_failed(self, error: sqlite3.Error) -> None:
        log.error(
            "the index failed; the files are safe and are adopted later", action="index_failed", error=error
        )
        self.store.needs_reconcile.set()

    def adopt(self, entries: Sequence[Entry]) -> None:
        """Add rows for files that have none, in one transaction."""
        taken = [self._held_if_foreign(entry) for entry in entries]
        self.store.insert(taken, "reconcile.commit_adopted")
        for entry, before in zip(taken, entries, strict=True):
            if entry is not before:
                self.files.write_sidecar(entry, "held.sidecar")
        self.arrived.set()

    def _held_if_foreign(self, entry: Entry) -> Entry:
        """Hold what waits and is not the present owner's from the start."""
        if entry.status not in WAITING or self.owners.may_send(entry):
            return entry
        return changed(entry, held_ms=self.now_ms())

    def note(self, entry: Entry, step: str, **facts: Any) -> Entry:
        """Record facts: in the index, then in the sidecar (procedure Note)."""
        entry = self.index(entry, step, **facts)
        self.files.write_sidecar(entry, f"{step}.sidecar")
        return entry

    def advance(self, entry: Entry, step: str, **facts: Any) -> Entry:
        """Record the next fact of a delivery, further than all before it, as ``note`` does (procedure Advance)."""
        entry = self.remember(entry, step, **facts)
        self.files.write_sidecar(entry, f"{step}.sidecar")
        return entry

    def index(self, entry: Entry, step: str, **facts: Any) -> Entry:
        """Record what the index keeps alone: attempts, the next try."""
        after = changed(entry, **facts)
        self.store.update(after, f"{step}.commit")
        return after

    def remember(self, entry: Entry, step: str, **facts: Any) -> Entry:
        """Record in the index what costs one more call when a power cut takes it: the upload URL, a stored file."""
        after = changed(entry, **facts)
        self.store.update(after, f"{step}.commit", synced=False)
        return after

    def complete(self, entry: Entry, *, verified: bool, evidence: str | None = None) -> Entry:
        """Record that the API has confirmed a recording, and move its files (procedure Move)."""
        now = self._now()
        facts = {
            "completed_ms": now.wall_ms,
            "completed_clock": now.clock,
            "stored_ms": entry.stored_ms or now.wall_ms,
            "verified": verified,
            "evidence": evidence,
        }
        with self.moving:
            entry = self.remember(
                entry,
                "completed",
                **facts,
                **NOTHING_PENDING,
                parked_ms=None,
                parked_reason=None,
                held_ms=None,
                last_error=None,
            )
            self.files.deliver(entry)
        return entry

    def park(self, entry: Entry, reason: str) -> Entry:
        """Put a recording aside with the reason; its file is kept."""
        entry = self.note(
            entry,
            "parked",
            parked_ms=self.now_ms(),
            parked_reason=reason,
            last_error=reason,
            **NOTHING_PENDING,
        )
        log.error("parked", action="recording_parked", id=entry.id, seq=entry.seq, reason=reason)
        return entry

    def damaged(self, entry: Entry, reason: str) -> Entry:
        """Park a recording whose file is not what was recorded, and move it aside."""
        reason = f"{DAMAGED} {reason}"
        entry = changed(
            entry, parked_ms=self.now_ms(), parked_reason=reason, last_error=reason, **NOTHING_PENDING
        )
        with self.moving:
            self.store.update(entry, "damaged.commit")
            self.files.write_sidecar(entry, "damaged.sidecar")
            self.files.move_to_damaged(entry)
        log.error("parked as damaged", action="recording_damaged", id=entry.id, seq=entry.seq, reason=reason)
        return entry

    def recover(self, entry: Entry) -> Entry | None:
        """Let a recording parked as damaged go on where its file is what was recorded after all; None: it is not.

        A card that could not be read for a while, or a file whose owner was wrong (procedure Recover).
        """
        if not entry.duration_ms or self.files.problem_of(entry) is not None:
            return None
        with self.moving:
            self.files.move_back(entry)
            entry = self.retry(changed(entry, last_error=None))
        log.warning("its file is whole again", action="recording_recovered", id=entry.id, seq=entry.seq)
        return entry

    def take_damaged(self, part: Path, entry: Entry, reason: str) -> None:
        """Keep a file that nothing can be made of: in ``damaged/``, with a parked row of its own."""
        entry = changed(entry, parked_ms=self.now_ms(), parked_reason=reason, last_error=reason)
        with self.moving:
            self.store.update(entry, "damaged.commit")
            self.files.write_sidecar(entry, "damaged.sidecar")
            self.files.set_aside(part)

    def retry(self, entry: Entry, *, tries: int = 0) -> Entry:
        """Make a parked or waiting recording due now; ``tries`` counts the ones made without a person."""
        entry = self.note(
            entry,
            "retry",
            parked_ms=None,
            parked_reason=None,
            parked_tries=tries,
            next_attempt=None,
            next_attempt_ms=None,
        )
        self.arrived.set()
        return entry

    def hold(self, entry: Entry) -> Entry:
        """Keep a recording back until its owner is known to be the present one (api.md section 7)."""
        return self.note(entry, "held", held_ms=self.now_ms(), **NOTHING_PENDING)

    def release(self, entry: Entry, *, to: str | None = None) -> Entry:
        """Let a held recording go; a person lets it go to the binding in force, whoever that is."""
        entry = self.note(entry, "release", held_ms=None, released_to=to or entry.released_to)
        self.arrived.set()
        return entry

    def delete(self, entry: Entry) -> None:
        """Forget a recording because a person says so, delivered or not.

        Raises:
            AgentError: it is being delivered at this moment.
        """
        with self.in_hand(entry) as mine:
            if not mine:
                raise AgentError(
                    f"{entry.id} is being delivered at this moment", "try again when that is over"
                )
            if entry.status is not Status.UPLOADED:
                self._on_deleted(entry)
            self._prune(entry)
        delivered = entry.status is Status.UPLOADED
        log.warning("deleted", action="recording_deleted", id=entry.id, seq=entry.seq, delivered=delivered)

    def prune(self, entry: Entry) -> None:
        """Remove a recording's row, then its files (procedure Prune); one that somebody works on stays."""
        with self.in_hand(entry) as mine:
            if mine:
                self._prune(entry)

    def _prune(self, entry: Entry) -> None:
        with self.moving:
            self.forget(entry)
            self.files.remove(entry)

    def forget(self, entry: Entry) -> None:
        """Remove the row of a recording whose files are gone or about to go."""
        self.store.delete(entry.id, "prune.commit")

    @contextlib.contextmanager
    def at_work(self, entry: Entry) -> Iterator[bool]:
        """Hold the file of a waiting recording; gives False when others have it, or have dropped it: its row goes."""
        with self.in_hand(entry) as mine:
            vanished = mine and self._was_dropped(entry)
            if vanished:
                self.forget(entry)
                self.files.discard_sidecar(self.files.audio(entry).with_name(entry.sidecar_name))
            yield mine and not vanished

    def _was_dropped(self, entry: Entry) -> bool:
        """Whether the recorder has dropped a waiting recording: audio and sidecar are gone, or are just going."""
        audio = self.files.audio(entry)
        if audio.exists():
            return False
        if not audio.with_name(entry.sidecar_name).exists():
            return True
        return entry.id in let_go(self.files.root, {Cause.DROPPED})

    @contextlib.contextmanager
    def in_hand(self, entry: Entry) -> Iterator[bool]:
        """Hold the file of a recording against the recorder and other threads; gives False when they have it.

        One that has no file, or none that anybody can open, can be nobody else's. When this process has no descriptor
        to look with, somebody may have it.
        """
        with contextlib.ExitStack() as stack:
            try:
                mine = stack.enter_context(claimed(self.files.audio(entry)))
            except OSError as error:
                mine = error.errno not in SHORT_OF_MEANS
            yield mine
