"""Files that were left open: finish the move of whole ones, repair torn ones, set aside what nothing can be made of."""

import contextlib
import os
from pathlib import Path

from agent.audio.ogg import NotOggOpus, read_summary
from agent.audio.ogg_repair import RepairPlan, Unrepairable, carry_out, holds_sound, plan_repair
from agent.disk import Disk
from agent.index.findings import Findings
from agent.index.outbox import Outbox
from agent.outbox import sidecar
from agent.outbox.entry import Entry
from agent.outbox.files import AUDIO, DAMAGED, SIDECAR, TEMPORARY, digest
from agent.outbox.locks import claimed
from agent.recording.filename import start_of_stem
from agent.recording.segment import PART, FinishedSegment, SegmentStart, is_being_written, lock_open_file
from agent.small_file import is_regular, open_file


class Repair:
    """Takes up the ``.part`` files that nobody is writing, and what a Finish has left under a temporary name."""

    def __init__(self, outbox: Outbox, disk: Disk, findings: Findings) -> None:
        self._outbox = outbox
        self._disk = disk
        self._findings = findings

    def open_file(self, path: Path) -> None:
        """Look into one ``.part`` file, and hold its lock meanwhile."""
        try:
            file = open_file(path, os.O_RDWR)
        except FileNotFoundError:
            return
        with file:
            if lock_open_file(file):
                self._take_up(path)

    def finish(self, audio: Path) -> Entry | None:
        """Do the rest of a Finish that was cut short between its two renames; None: it was not, or is under way."""
        if not is_regular(audio):
            return None
        with contextlib.suppress(FileNotFoundError), claimed(audio) as mine:
            entry = _awaited(audio) if mine else None
            if entry is not None and self._findings.found(
                "its sidecar takes its name", "reconcile_moved", audio
            ):
                self._outbox.files.finish_move(audio, entry)
            return entry
        return None

    def discard_temporary(self, path: Path) -> None:
        """Remove a temporary file that a crash left behind; not one that is being written, or that a Finish needs.

        A recorder may die at any moment of this: what its open file, or its audio, still needs is there for the next
        look.
        """
        files = self._outbox.files
        stem = path.name.removesuffix(TEMPORARY).removesuffix(SIDECAR)
        part, audio = files.recording / f"{stem}{AUDIO}{PART}", files.outbox / f"{stem}{AUDIO}"
        if is_being_written(part) or is_being_written(audio) or not path.exists():
            return
        if path.parent == files.outbox and (is_regular(part) or _awaited(audio) is not None):
            return
        if self._findings.found("a temporary file was left behind, removed", "reconcile_discarded", path):
            files.discard_temporary(path)

    def _take_up(self, path: Path) -> None:
        stem = path.name.removesuffix(AUDIO + PART)
        entry = self._sidecar_of(stem)
        if entry is not None and entry.size_bytes == path.stat().st_size and entry.sha256 == digest(path):
            if self._findings.found(
                "is whole, its move into the outbox is finished", "reconcile_moved", path
            ):
                self._outbox.files.finish_move(path, entry)
                self._outbox.adopt([entry])
            return
        try:
            plan = plan_repair(path)
            start = SegmentStart.from_tags(read_summary(path).tags)
        except (Unrepairable, NotOggOpus):
            if holds_sound(path):
                self._give_up(path, stem, "its first pages are not what was written")
            elif self._findings.found(
                "holds not one page of sound, so it is no recording, removed", "reconcile_discarded", path
            ):
                self._outbox.files.discard_part(path)
            return
        if start is None:
            self._give_up(path, stem, "its tags do not say which recording it is")
            return
        self._mend(path, plan, start)

    def _sidecar_of(self, stem: str) -> Entry | None:
        """Return the sidecar of a file whose Finish was begun, under its own or its temporary name."""
        own = self._outbox.files.outbox / f"{stem}{SIDECAR}"
        return sidecar.read(own) or sidecar.read(own.with_name(own.name + TEMPORARY))

    def _mend(self, path: Path, plan: RepairPlan, start: SegmentStart) -> None:
        what = "is whole, finished" if plan.already_complete else f"repaired, {plan.cut_bytes} bytes cut off"
        if not self._findings.found(what, "reconcile_repaired", path):
            return
        if not plan.already_complete:
            carry_out(plan, path, self._disk)
        segment = FinishedSegment(
            start=start,
            path=path,
            samples=plan.samples_48k * start.sample_rate // 48000,
            size_bytes=plan.truncate_to,
            sha256=digest(path),
            recovered=not plan.already_complete,
        )
        self._outbox.accept(segment)

    def _give_up(self, path: Path, stem: str, reason: str) -> None:
        """Move a file of no use to ``damaged/`` with a parked row, so that it is listed and can be deleted."""
        if not self._findings.found(
            f"nothing usable, moved to damaged/: {reason}", "reconcile_damaged", path
        ):
            return
        start = start_of_stem(stem)
        if start is None:
            self._outbox.files.set_aside(path)
            return
        segment = FinishedSegment(start, path, 0, path.stat().st_size, digest(path), recovered=True)
        reason = f"{DAMAGED} {reason}"
        self._outbox.take_damaged(path, Entry.of(segment), reason)


def _awaited(audio: Path) -> Entry | None:
    """Return what audio that has moved without its sidecar awaits: the one under its temporary name."""
    own = audio.with_suffix(SIDECAR)
    entry = sidecar.read(own.with_name(own.name + TEMPORARY))
    if entry is None or own.exists() or not is_regular(audio) or audio.stat().st_size != entry.size_bytes:
        return None
    return entry
