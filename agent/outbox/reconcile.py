"""Bringing index, sidecars and files together again after whatever happened: the outbox's procedure Reconcile."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from agent.audio.ogg import NotOggOpus, read_summary
from agent.audio.oggrepair import Unrepairable, plan_repair
from agent.host.disk import Disk
from agent.outbox import sidecar
from agent.outbox.entry import Entry, Status, changed
from agent.outbox.files import AUDIO, SIDECAR, TEMPORARY, digest, names, stems
from agent.outbox.outbox import Outbox
from agent.recording.segment import PART, FinishedSegment, SegmentStart, lock_open_file

log = structlog.get_logger()


@dataclass
class Findings:
    """What reconciliation found and did: one sentence per mismatch."""

    sentences: list[str] = field(default_factory=list)

    def add(self, sentence: str, action: str, path: Path) -> None:
        """Note and log one."""
        self.sentences.append(f"{path.name}: {sentence}")
        log.warning(sentence, action=action, file=path.name)


class Reconciler:
    """Compares an outbox's files with its index and completes what was begun; running it twice changes nothing more."""

    def __init__(self, outbox: Outbox, disk: Disk, *, stopped: Callable[[], bool] = lambda: False) -> None:
        self._outbox = outbox
        self._files = outbox.files
        self._store = outbox.store
        self._disk = disk
        self._stopped = stopped
        self.findings = Findings()

    def run(self) -> Findings:
        """Go through all folders, then through the rows that have no file."""
        for folder, ending, check in (
            (self._files.recording, PART, self._check_open),
            (self._files.recording, TEMPORARY, self._check_temporary),
            (self._files.outbox, TEMPORARY, self._check_temporary),
            (self._files.sent, TEMPORARY, self._check_temporary),
        ):
            for name in names(folder):
                if name.endswith(ending) and not self._stopped():
                    with self._outbox.moving:
                        check(folder / name)
        for stem in sorted(stems(self._files.outbox, AUDIO) | stems(self._files.outbox, SIDECAR)):
            self._locked(self._check_waiting, stem)
        for stem in sorted(stems(self._files.sent, AUDIO)):
            self._locked(self._check_sent, stem)
        for stem in sorted(stems(self._files.damaged, SIDECAR)):
            self._locked(self._check_damaged, stem)
        self._check_rows()
        return self.findings

    def _locked(self, check: Callable[[str], None], stem: str) -> None:
        if not self._stopped():
            with self._outbox.moving:
                check(stem)

    # recording/

    def _check_open(self, path: Path) -> None:
        try:
            file = path.open("r+b", buffering=0)
        except FileNotFoundError:
            return
        with file:
            if not lock_open_file(file):
                return
            stem = path.name.removesuffix(AUDIO + PART)
            entry = sidecar.read(self._files.outbox / f"{stem}{SIDECAR}")
            if entry is not None and entry.size_bytes == path.stat().st_size:
                self._files.finish_audio(path, entry)
                self._outbox.adopt(entry)
                self.findings.add("finished its move into the outbox", "reconcile_moved", path)
                return
            self._repair(path)

    def _repair(self, path: Path) -> None:
        try:
            plan = plan_repair(path)
            summary = read_summary(path)
            start = SegmentStart.from_tags(summary.tags)
        except (Unrepairable, NotOggOpus) as problem:
            self._give_up(path, str(problem))
            return
        if start is None:
            self._give_up(path, "its tags do not say which recording it is")
            return
        if not plan.already_complete:
            with path.open("r+b", buffering=0) as file:
                self._disk.write_at(file, plan.patch_offset, plan.patch_bytes, "repair.patch")
                self._disk.truncate(file, plan.truncate_to, "repair.truncate")
                self._disk.sync(file, "repair.sync")
            self.findings.add(f"repaired, {plan.cut_bytes} bytes cut", "reconcile_repaired", path)
        segment = FinishedSegment(
            start=start,
            path=path,
            samples=plan.samples_48k * start.sample_rate // 48000,
            size_bytes=plan.truncate_to,
            sha256=digest(path),
            recovered=not plan.already_complete,
        )
        self._outbox.accept(segment)

    def _give_up(self, path: Path, reason: str) -> None:
        self._files.set_aside(path)
        self.findings.add(f"nothing usable, moved to damaged/: {reason}", "reconcile_damaged", path)

    def _check_temporary(self, path: Path) -> None:
        part = path.with_name(path.name.removesuffix(SIDECAR + TEMPORARY) + AUDIO + PART)
        if part.exists():
            with part.open("r+b", buffering=0) as file:
                if not lock_open_file(file):
                    return
        self._files.discard_temporary(path)

    # outbox/

    def _check_waiting(self, stem: str) -> None:
        audio = self._files.outbox / f"{stem}{AUDIO}"
        written = sidecar.read(self._files.outbox / f"{stem}{SIDECAR}")
        row = self._store.of_stem(stem)
        if not audio.exists():
            self._check_missing(stem, row or written)
        elif row is None:
            self._adopt(audio, written)
        elif row.status is Status.UPLOADED:
            self._files.write_sidecar(row, "reconcile.sidecar")
            self._files.move_to_sent(row)
            self.findings.add("delivered, finished its move to sent/", "reconcile_moved", audio)
        elif written is None or written.progress != row.progress or written.status != row.status:
            self._agree(audio, row, written)

    def _check_missing(self, stem: str, entry: Entry | None) -> None:
        part = self._files.recording / f"{stem}{AUDIO}{PART}"
        if entry is None or part.exists():
            return
        if (self._files.sent / f"{stem}{AUDIO}").exists():
            self._files.move_to_sent(entry)
            self.findings.add("finished the move of its sidecar to sent/", "reconcile_moved", part)
        elif (self._files.damaged / f"{stem}{AUDIO}").exists():
            self._files.move_to_damaged(entry)
        else:
            self._store.insert(entry, "reconcile.commit_missing")
            self._outbox.damaged(entry, "its audio file is missing")

    def _adopt(self, audio: Path, written: Entry | None) -> None:
        if written is not None:
            self._outbox.adopt(written)
            if written.status is Status.UPLOADED:
                self._files.move_to_sent(written)
            self.findings.add("had no row, adopted", "reconcile_adopted", audio)
            return
        try:
            summary = read_summary(audio)
            start = SegmentStart.from_tags(summary.tags)
        except NotOggOpus:
            start = None
        if start is None:
            self.findings.add("is not a recording of ours, left alone", "reconcile_foreign", audio)
            return
        samples = summary.samples_48k * start.sample_rate // 48000
        size = audio.stat().st_size
        entry = Entry.of(FinishedSegment(start, audio, samples, size, digest(audio), not summary.complete))
        self._files.write_sidecar(entry, "reconcile.sidecar")
        self._outbox.adopt(entry)
        self.findings.add("had neither row nor sidecar, adopted from its tags", "reconcile_adopted", audio)

    def _agree(self, audio: Path, row: Entry, written: Entry | None) -> None:
        """Let the further fact win on both sides."""
        if written is not None and written.progress > row.progress:
            row = changed(
                row,
                request=written.request,
                remote_id=written.remote_id,
                created_ms=written.created_ms,
                stored_ms=written.stored_ms,
                asked_ms=written.asked_ms,
                completed_ms=written.completed_ms,
                verified=written.verified,
            )
            self._store.update(row, "reconcile.commit_facts")
        self._files.write_sidecar(row, "reconcile.sidecar")
        if row.status is Status.UPLOADED:
            self._files.move_to_sent(row)
        self.findings.add("row and sidecar disagreed, the further one was kept", "reconcile_agreed", audio)

    # sent/ and damaged/

    def _check_sent(self, stem: str) -> None:
        audio = self._files.sent / f"{stem}{AUDIO}"
        row = self._store.of_stem(stem)
        if row is not None and row.status is Status.UPLOADED:
            return
        entry = sidecar.read(self._files.sent / f"{stem}{SIDECAR}") or row
        if entry is None:
            self.findings.add("is delivered and has no sidecar, left alone", "reconcile_foreign", audio)
            return
        entry = changed(entry, completed_ms=entry.completed_ms or self._outbox.now_ms(), parked_ms=None)
        if row is None:
            self._outbox.adopt(entry)
        else:
            self._store.update(entry, "reconcile.commit_facts")
        self.findings.add("is delivered, its row now says so", "reconcile_adopted", audio)

    def _check_damaged(self, stem: str) -> None:
        written = sidecar.read(self._files.damaged / f"{stem}{SIDECAR}")
        if written is not None and self._store.of_stem(stem) is None:
            self._outbox.adopt(written)
            self.findings.add(
                "had no row, adopted", "reconcile_adopted", self._files.damaged / f"{stem}{SIDECAR}"
            )

    # rows

    def _check_rows(self) -> None:
        """Find the rows whose file is nowhere."""
        for entry in self._store.all():
            if self._stopped():
                return
            with self._outbox.moving:
                fresh = self._store.get(entry.id)
                if fresh is None or self._files.audio(fresh).exists():
                    continue
                self._check_lost(fresh)

    def _check_lost(self, entry: Entry) -> None:
        audio = self._files.audio(entry)
        if entry.status is Status.UPLOADED:
            self._store.delete(entry.id, "reconcile.commit_pruned")
            self.findings.add("is delivered and its file is gone, its row too", "reconcile_pruned", audio)
        elif (self._files.outbox / entry.audio_name).exists():
            self._files.move_to_damaged(entry)
        elif not (entry.parked_reason or "").endswith("is missing"):
            self._outbox.damaged(entry, "its audio file is missing")
            self.findings.add("has a row and no file, parked", "reconcile_missing", audio)
