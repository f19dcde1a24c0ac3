"""Files that come and go while the deliverer runs: adopted, and their rows let go (``agent.deliverer``, D1 and D3)."""

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from agent.disk import Disk
from agent.index.findings import Findings
from agent.index.outbox import Outbox
from agent.index.repair import Repair
from agent.log import get_logger
from agent.outbox import sidecar
from agent.outbox.entry import Entry, Status
from agent.outbox.files import AUDIO, SIDECAR, TEMPORARY, is_damaged, names
from agent.recording.segment import PART, is_being_written
from agent.small_file import is_regular

log = get_logger(__name__)

CHUNK = 200
SETTLED_NS = 1_000_000_000
"""A folder that changed less than a second ago is listed again: two changes may bear one time stamp."""


class Arrivals:
    """Compares what lies in ``outbox/`` and ``sent/`` with what lay there last; costs two calls while nothing changes.

    Raises OSError and sqlite3.Error as disk and SQLite give them; the next ``poll`` begins where this one failed.
    """

    def __init__(self, outbox: Outbox, repair: Repair, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._outbox = outbox
        self._files = outbox.files
        self._repair = repair
        self._wall_ns = wall_ns
        self._looking = threading.Lock()
        self._changed: dict[Path, int] = {}
        self._known: dict[Path, set[str]] = {self._files.outbox: set(), self._files.sent: set()}

    def begin(self) -> None:
        """Take what lies there now for known: reconciliation, which comes next, looks at all of it."""
        with self._looking:
            for folder in self._known:
                self._changed.pop(folder, None)
                self._known[folder] = _stems(names(folder))

    def poll(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Adopt what is new, let rows go whose files have vanished, finish and repair what a dead recorder has left.

        ``stopped`` is asked before each page of recordings, and before each repair.
        """
        with self._looking:
            self._poll_folder(self._files.outbox, self._arrived, self._left_outbox, stopped)
            self._poll_folder(self._files.sent, lambda _stems: None, self._left_sent, stopped)
            for name in names(self._files.recording):
                if stopped():
                    return
                path = self._files.recording / name
                if name.endswith(PART) and is_regular(path) and not is_being_written(path):
                    with self._outbox.moving, Findings().of_one(path):
                        self._repair.open_file(path)

    def _poll_folder(
        self,
        folder: Path,
        came: Callable[[list[str]], None],
        went: Callable[[list[str]], None],
        stopped: Callable[[], bool],
    ) -> None:
        changed = folder.stat().st_mtime_ns
        if self._changed.get(folder) == changed:
            return
        present = names(folder)
        unnamed = [name for name in present if name.endswith(SIDECAR + TEMPORARY)]
        if unnamed:
            self._finish_what_was_cut_short(unnamed)
            present = names(folder)
        now = _stems(present)
        before = self._known[folder]
        for stems, look_into in ((now - before, came), (before - now, went)):
            for chunk in _chunks(stems):
                if stopped():
                    return
                look_into(chunk)
        self._known[folder] = now
        # Whoever writes one that has no name yet may die, and then nothing changes here.
        if self._wall_ns() - changed > SETTLED_NS and not unnamed:
            self._changed[folder] = changed

    def _finish_what_was_cut_short(self, unnamed: list[str]) -> None:
        """Give the sidecars their names that a dead recorder has left without beside their audio in ``outbox/``."""
        for name in unnamed:
            audio = self._files.outbox / f"{name.removesuffix(SIDECAR + TEMPORARY)}{AUDIO}"
            with self._outbox.moving, Findings().of_one(audio):
                self._repair.finish(audio)

    def _arrived(self, stems: list[str]) -> None:
        """Adopt what has no row; what cannot be adopted as it stands is left to reconciliation."""
        with self._outbox.moving:
            known = self._outbox.store.known_stems(stems)
            fresh: list[Entry] = []
            for stem in stems:
                audio = self._files.outbox / f"{stem}{AUDIO}"
                if stem in known or not audio.exists():
                    continue
                entry = sidecar.read(audio.with_suffix(SIDECAR))
                if entry is None or entry.status is Status.UPLOADED or is_damaged(entry):
                    self._outbox.store.needs_reconcile.set()
                else:
                    fresh.append(entry)
            if fresh:
                self._outbox.adopt(fresh)

    def _left_outbox(self, stems: list[str]) -> None:
        self._forget(
            stems, lambda entry: entry.status is not Status.UPLOADED and not is_damaged(entry), "dropped"
        )

    def _left_sent(self, stems: list[str]) -> None:
        self._forget(stems, lambda entry: entry.status is Status.UPLOADED, "pruned")

    def _forget(self, stems: list[str], concerned: Callable[[Entry], bool], how: str) -> None:
        with self._outbox.moving:
            for entry in self._outbox.store.of_stems(stems).values():
                if concerned(entry) and not self._files.audio(entry).exists():
                    self._outbox.forget(entry)
                    log.info(
                        "the recorder has made room with it", action="recording_gone", id=entry.id, how=how
                    )


def arrivals_of(outbox: Outbox, disk: Disk, wall_ns: Callable[[], int] = time.time_ns) -> Arrivals:
    """Return the arrivals of an outbox."""
    return Arrivals(outbox, Repair(outbox, disk, Findings()), wall_ns)


def _stems(present: list[str]) -> set[str]:
    return {name.removesuffix(SIDECAR) for name in present if name.endswith(SIDECAR)}


def _chunks(stems: Iterable[str]) -> Iterable[list[str]]:
    ordered = sorted(stems)
    for begin in range(0, len(ordered), CHUNK):
        yield ordered[begin : begin + CHUNK]
