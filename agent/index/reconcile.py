"""Bringing index, sidecars and files together again after whatever happened: the outbox's procedure Reconcile."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from agent.audio.ogg import NotOggOpus, read_summary
from agent.disk import Disk
from agent.gaps.log import Cause
from agent.index.findings import Findings
from agent.index.outbox import Outbox
from agent.index.repair import Repair
from agent.log import get_logger
from agent.outbox import sidecar
from agent.outbox.entry import Entry, Status, changed
from agent.outbox.files import AUDIO, SIDECAR, TEMPORARY, digest, is_damaged, names, stems
from agent.recording.days.gapsfile import End, end_of_gap_log, let_go
from agent.recording.segment import PART, FinishedSegment, SegmentStart, is_being_written
from agent.small_file import is_regular

log = get_logger(__name__)

CHUNK = 200
"""How many recordings are compared, and adopted in one transaction, at a time."""


class Reconciler:
    """Compares an outbox's files with its index and completes what was begun; a second run finds nothing.

    ``stopped`` is asked before each recording.
    """

    def __init__(
        self,
        outbox: Outbox,
        disk: Disk,
        *,
        stopped: Callable[[], bool] = lambda: False,
        dry_run: bool = False,
    ) -> None:
        self._outbox = outbox
        self._files = outbox.files
        self._store = outbox.store
        self._stopped = stopped
        self.findings = Findings(dry_run)
        self._repair = Repair(outbox, disk, self.findings)
        self._let_go: set[str] = set()
        self._let_go_until: End | None = None

    def run(self) -> Findings:
        """Go through all folders, then through the rows that have no file."""
        files = self._files
        self._each(files.recording, names(files.recording), PART, self._repair.open_file)
        self._each(files.outbox, names(files.outbox), AUDIO, self._check_moved)
        for folder in (files.recording, files.outbox, files.sent, files.damaged):
            self._each(folder, names(folder), TEMPORARY, self._repair.discard_temporary)
        waiting = sorted(stems(files.outbox, AUDIO) | stems(files.outbox, SIDECAR))
        self._chunks(waiting, self._check_waiting)
        sent = sorted(stems(files.sent, AUDIO) | stems(files.sent, SIDECAR))
        self._chunks(sent, self._check_sent)
        self._chunks(sorted(stems(files.damaged, SIDECAR)), self._check_damaged)
        self._check_rows()
        return self.findings

    def _each(self, folder: Path, present: Sequence[str], ending: str, check: Callable[[Path], None]) -> None:
        for name in present:
            if name.endswith(ending) and not self._stopped():
                with self._outbox.moving, self.findings.of_one(folder / name):
                    check(folder / name)

    def _chunks(self, present: Sequence[str], check: Callable[[str, Entry | None], Entry | None]) -> None:
        """Compare files with rows, a chunk at a time; ``check`` returns the entry to adopt, if any."""
        for begin in range(0, len(present), CHUNK):
            chunk = present[begin : begin + CHUNK]
            if self._stopped():
                return
            with self._outbox.moving:
                rows = self._store.of_stems(chunk)
                adopted = []
                for stem in chunk:
                    if self._stopped():
                        break
                    with self.findings.of_one(Path(stem)):
                        if (entry := check(stem, rows.get(stem))) is not None:
                            adopted.append(entry)
                if adopted and not self.findings.dry_run:
                    self._outbox.adopt(adopted)
                    for entry in adopted:
                        with self.findings.of_one(Path(entry.stem)):
                            self._settle(entry)

    def _settle(self, entry: Entry) -> None:
        """Move an adopted recording to where its facts say it belongs."""
        if entry.status is Status.UPLOADED:
            self._files.move_to_sent(entry)
        elif is_damaged(entry):
            self._files.move_to_damaged(entry)

    def _is_foreign(self, path: Path) -> bool:
        """Whether something stands at the name of a file that is none; it is named, and left alone."""
        if not os.path.lexists(path) or is_regular(path):
            return False
        self.findings.left_alone("is not a regular file, left alone", "reconcile_foreign", path)
        return True

    # outbox/

    def _check_moved(self, audio: Path) -> None:
        """Let the name go from which a delivered file was moved: a power cut may have kept both."""
        if self._files.is_moved(audio) and self.findings.found(
            "was moved to sent/, its old name goes", "reconcile_moved", audio
        ):
            self._files.drop_old_names(audio)

    def _check_waiting(self, stem: str, row: Entry | None) -> Entry | None:
        audio = self._files.outbox / f"{stem}{AUDIO}"
        written = sidecar.read(audio.with_suffix(SIDECAR))
        if self._is_foreign(audio):
            return None
        if not audio.exists():
            self._check_missing(stem, row, written)
            return None
        if written is None and row is None and is_being_written(audio):
            return None
        found = written or self._left_elsewhere(audio)
        if row is None:
            return self._adoptable(audio, found)
        if row.status is Status.UPLOADED:
            if self.findings.found("is delivered, its move to sent/ is finished", "reconcile_moved", audio):
                self._files.write_sidecar(row, "reconcile.sidecar")
                self._files.move_to_sent(row)
        elif is_damaged(row):
            if self.findings.found("is damaged, its move to damaged/ is finished", "reconcile_moved", audio):
                self._files.move_to_damaged(row)
                self._files.write_sidecar(row, "reconcile.sidecar")
        elif written is None or (written.progress, written.status) != (row.progress, row.status):
            self._agree(audio, row, found)
        return None

    def _left_elsewhere(self, audio: Path) -> Entry | None:
        """Return the sidecar of audio that has none beside it, where a Finish or a Move was cut short.

        It has its name by now, has it not yet, or is where the audio was going: of a Move's two renames a power cut
        may leave the second alone.
        """
        own = audio.with_suffix(SIDECAR)
        if (entry := sidecar.read(own) or self._repair.finish(audio)) is not None:
            return entry
        return sidecar.read(self._files.sent / own.name) or sidecar.read(self._files.damaged / own.name)

    def _check_missing(self, stem: str, row: Entry | None, written: Entry | None) -> None:
        """Look into a sidecar that has no audio beside it."""
        entry = row or written
        part = self._files.recording / f"{stem}{AUDIO}{PART}"
        lone = self._files.outbox / f"{stem}{SIDECAR}"
        if part.exists() or not lone.exists():
            return
        for folder, move in (
            (self._files.sent, self._files.move_to_sent),
            (self._files.damaged, self._files.move_to_damaged),
        ):
            if (folder / f"{stem}{AUDIO}").exists():
                if entry and self.findings.found(
                    f"its sidecar follows it to {folder.name}/", "reconcile_moved", lone
                ):
                    self._follow(row, entry, move)
                return
        if entry is None:
            if self.findings.found(
                "is a torn sidecar without audio, moved to damaged/", "reconcile_moved", lone
            ):
                self._files.set_aside(lone)
        elif (delivered := entry.status is Status.UPLOADED) or self._was_let_go(entry):
            gone = "pruned" if delivered else "dropped"
            if self.findings.found(
                f"is what is left of a {gone} recording, removed", "reconcile_pruned", lone
            ):
                self._outbox.forget(entry)
                self._files.discard_sidecar(lone)
        elif self.findings.found("its audio file is missing", "reconcile_missing", lone):
            self._outbox.damaged(entry, "its audio file is missing")

    def _was_let_go(self, entry: Entry) -> bool:
        """Whether the recorder, or a person, has let it go undelivered: the gap logs have it before the audio goes."""
        end = end_of_gap_log(self._files.root)
        if entry.id not in self._let_go and end != self._let_go_until:  # the recorder makes room meanwhile
            self._let_go = let_go(self._files.root, {Cause.DROPPED, Cause.DELETED})
            self._let_go_until = end
        return entry.id in self._let_go

    def _follow(self, row: Entry | None, entry: Entry, move: Callable[[Entry], None]) -> None:
        """Move a sidecar after its audio; it may be older than the one that was on its way."""
        move(entry)
        if row is not None and self._files.audio(row).exists():
            self._files.write_sidecar(row, "reconcile.sidecar")

    def _adoptable(self, audio: Path, written: Entry | None) -> Entry | None:
        """Return the entry of a file that has no row: from its sidecar, else from its own tags."""
        if written is not None:
            self.findings.found("had no row, adopted", "reconcile_adopted", audio)
            return written
        entry = entry_from_tags(audio)
        if entry is None:
            self.findings.left_alone("is not a recording of ours, left alone", "reconcile_foreign", audio)
            return None
        if self.findings.found(
            "had neither row nor sidecar, adopted from its tags", "reconcile_adopted", audio
        ):
            self._files.write_sidecar(entry, "reconcile.sidecar")
        return entry

    def _agree(self, audio: Path, row: Entry, written: Entry | None) -> None:
        """Let the further fact win on both sides."""
        if not self.findings.found(
            "row and sidecar disagreed, the further fact is kept", "reconcile_agreed", audio
        ):
            return
        if written is not None and written.progress > row.progress:
            row = changed(
                row,
                started=written.started,
                request=written.request,
                remote_id=written.remote_id,
                created_ms=written.created_ms,
                stored_ms=written.stored_ms,
                asked_ms=written.asked_ms,
                completed_ms=written.completed_ms,
                completed_clock=written.completed_clock,
                verified=written.verified,
                media_id=written.media_id or row.media_id,
                evidence=written.evidence,
                upload_url=None if written.stored_ms is not None else row.upload_url,
            )
            self._store.update(row, "reconcile.commit_facts")
        self._files.write_sidecar(row, "reconcile.sidecar")
        self._settle(row)

    # sent/ and damaged/

    def _check_sent(self, stem: str, row: Entry | None) -> Entry | None:
        audio = self._files.sent / f"{stem}{AUDIO}"
        if self._is_foreign(audio):
            return None
        if not audio.exists():
            self._check_half_pruned(audio.with_suffix(SIDECAR), row)
            return None
        if row is not None and row.status is Status.UPLOADED:
            return None
        written = sidecar.read(audio.with_suffix(SIDECAR))
        entry = written or row or entry_from_tags(audio)
        if entry is None:
            self.findings.left_alone("is not a recording of ours, left alone", "reconcile_foreign", audio)
            return None
        mend = self.findings.found("is delivered, its row now says so", "reconcile_adopted", audio)
        entry = changed(entry, completed_ms=entry.completed_ms or self._outbox.now_ms(), parked_ms=None)
        if mend and (written is None or written.completed_ms is None):
            self._files.write_sidecar(entry, "reconcile.sidecar")
        if row is None:
            return entry
        if mend:
            self._store.update(entry, "reconcile.commit_facts")
        return None

    def _check_half_pruned(self, path: Path, row: Entry | None) -> None:
        """Remove the sidecar whose row and audio were pruned before a crash."""
        waits = (self._files.outbox / path.name).with_suffix(AUDIO).exists()
        if (
            row is None
            and path.exists()
            and not waits
            and self.findings.found(
                "is what is left of a pruned recording, removed", "reconcile_pruned", path
            )
        ):
            self._files.discard_sidecar(path)

    def _check_damaged(self, stem: str, row: Entry | None) -> Entry | None:
        path = self._files.damaged / f"{stem}{SIDECAR}"
        written = sidecar.read(path)
        if row is not None or written is None:
            return None
        self.findings.found("had no row, adopted", "reconcile_adopted", path)
        return written

    # rows

    def _check_rows(self) -> None:
        """Find the rows whose file is nowhere: vanished from ``sent/`` it was pruned, from ``outbox/`` dropped."""
        for entry in self._rows_without_file():
            audio = self._files.audio(entry)
            if entry.status is Status.UPLOADED:
                sentence = "is delivered and its file is gone, its row too"
            elif is_damaged(entry):
                continue
            else:
                sentence = "was dropped, its row too"
            if self.findings.found(sentence, "reconcile_pruned", audio):
                self._outbox.forget(entry)

    def _rows_without_file(self) -> Iterator[Entry]:
        for entry in self._store.all():
            if self._stopped():
                return
            if self._files.audio(entry).exists():
                continue
            with self._outbox.moving:
                fresh = self._store.get(entry.id)
                if fresh is not None and not self._files.audio(fresh).exists():
                    yield fresh


def entry_from_tags(audio: Path) -> Entry | None:
    """Return what a file says of itself; None when it is no recording of ours."""
    try:
        summary = read_summary(audio)
    except NotOggOpus:
        return None
    start = SegmentStart.from_tags(summary.tags)
    if start is None:
        return None
    samples = summary.samples_48k * start.sample_rate // 48000
    whole = FinishedSegment(
        start, audio, samples, audio.stat().st_size, digest(audio), recovered=not summary.complete
    )
    return Entry.of(whole)
