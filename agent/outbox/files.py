"""The files of the outbox and their durable moves; the only place that knows where a recording lies."""

import contextlib
from pathlib import Path

from agent.disk import Disk
from agent.log import get_logger
from agent.outbox import sidecar
from agent.outbox.entry import Entry, Status
from agent.recording.filename import number_of
from agent.recording.segment import PART, FinishedSegment
from agent.small_file import OF_THE_DISK, open_file

log = get_logger(__name__)

AUDIO = ".opus"
SIDECAR = ".json"
TEMPORARY = ".tmp"
DAMAGED = "damaged:"
"""What the reason of a recording begins with whose file is not what was recorded."""
CHUNK = 1 << 18
"""Bytes read at a time when a file is hashed."""


class Files:
    """The four folders under the state directory. Raises OSError as the disk gives it."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self.root = root
        self.recording = root / "recording"
        self.outbox = root / "outbox"
        self.sent = root / "sent"
        self.damaged = root / "damaged"
        self._disk = disk
        self._owes_sync = True
        """Whether a name that was moved out of ``outbox/`` may come back with a power cut; unknown at first."""

    def audio(self, entry: Entry) -> Path:
        """Where the audio of an entry belongs by its facts."""
        if entry.status is Status.UPLOADED:
            return self.sent / entry.audio_name
        return (self.damaged if is_damaged(entry) else self.outbox) / entry.audio_name

    def last_sequence(self) -> int:
        """Return the highest sequence number that a file's name bears, 0 without files."""
        folders = (self.recording, self.outbox, self.sent, self.damaged)
        return max((number_of(name) for folder in folders for name in names(folder)), default=0)

    def finish(self, segment: FinishedSegment, entry: Entry) -> None:
        """Move a finished file and its new sidecar into ``outbox/`` (procedure Finish); the sidecar's name commits."""
        temporary = self.outbox / (entry.sidecar_name + TEMPORARY)
        self._disk.write_new(temporary, sidecar.encode(entry), "finish.sidecar")
        self.finish_move(segment.path, entry)
        log.info(
            "recorded",
            action="recording_finished",
            id=entry.id,
            seq=entry.seq,
            duration_ms=entry.duration_ms,
            size_bytes=entry.size_bytes,
            recovered=entry.recovered,
        )

    def finish_move(self, part: Path, entry: Entry) -> None:
        """Do what is left of a Finish whose sidecar is in ``outbox/``, under its temporary or its own name."""
        target = self.outbox / entry.audio_name
        if part != target and part.exists():
            self._disk.rename(part, target, "finish.rename_audio")
        temporary = self.outbox / (entry.sidecar_name + TEMPORARY)
        if temporary.exists():
            self._disk.rename(temporary, self.outbox / entry.sidecar_name, "finish.rename_sidecar")
        self._disk.sync_folder(self.outbox, "finish.sync_outbox")
        self._disk.sync_folder(self.recording, "finish.sync_recording")

    def discard_part(self, path: Path) -> None:
        """Remove an open file without a page of sound: it is no recording."""
        self._disk.unlink(path, "discard.unlink")
        self._disk.sync_folder(path.parent, "discard.sync_folder")

    def write_sidecar(self, entry: Entry, step: str, *, name_synced: bool = True) -> None:
        """Replace the sidecar of an entry where it is: it moves with its audio, after the new facts."""
        folder = self.audio(entry).parent
        if not (folder / entry.sidecar_name).exists() and self._lies_in_outbox(entry):
            folder = self.outbox
        path = folder / entry.sidecar_name
        self._disk.replace(path, sidecar.encode(entry), step, name_synced=name_synced)
        if name_synced and folder == self.outbox:
            self._owes_sync = False

    def _lies_in_outbox(self, entry: Entry) -> bool:
        return any((self.outbox / name).exists() for name in (entry.audio_name, entry.sidecar_name))

    def deliver(self, entry: Entry) -> None:
        """Write that a recording was delivered, and move it (procedure Move); ``outbox/`` is synced later."""
        self.write_sidecar(entry, "completed.sidecar", name_synced=False)
        self._rename(entry, self.outbox, self.sent, "sent")
        self._owes_sync = True

    def settle(self) -> None:
        """See that nothing that was delivered comes back to ``outbox/``."""
        if self._owes_sync:
            self._disk.sync_folder(self.outbox, "sent.sync_outbox")
            self._owes_sync = False

    def is_moved(self, audio: Path) -> bool:
        """Whether a file in ``outbox/`` has its name in ``sent/`` already."""
        with contextlib.suppress(FileNotFoundError):
            return (self.sent / audio.name).samefile(audio)
        return False

    def drop_old_names(self, audio: Path) -> None:
        """Remove from ``outbox/`` what has moved to ``sent/`` (the rest of a Move)."""
        for path in (audio, audio.with_suffix(SIDECAR)):
            if (self.sent / path.name).exists():
                self._disk.unlink(path, "sent.unlink_old")
        self._disk.sync_folder(self.outbox, "sent.sync_outbox")

    def move_to_sent(self, entry: Entry) -> None:
        """Move a delivered recording out of ``outbox/`` (procedure Move); what has moved already stays."""
        self._move(entry, self.outbox, self.sent, "sent")

    def move_to_damaged(self, entry: Entry) -> None:
        """Move a file that is not what was recorded aside, with its sidecar."""
        self._move(entry, self.outbox, self.damaged, "damaged")

    def move_back(self, entry: Entry) -> None:
        """Move a file that is what was recorded after all out of ``damaged/``, with its sidecar (procedure Recover)."""
        self._move(entry, self.damaged, self.outbox, "recovered")

    def problem_of(self, entry: Entry) -> str | None:
        """Return why a file is not what was recorded, None when it is, byte for byte.

        Raises:
            OSError: the disk fails, or this process has no means to look; the file may be whole.
        """
        audio = self.audio(entry)
        try:
            # Of another size it need not be read: a file on a bad card may claim a terabyte.
            same = audio.stat().st_size == entry.size_bytes and digest(audio) == entry.sha256
        except FileNotFoundError:
            return "its audio file is missing"
        except OSError as error:
            if error.errno in OF_THE_DISK:
                raise
            return f"its audio file cannot be read ({error.strerror})"
        return None if same else "its audio is not what was recorded (SHA-256 differs)"

    def _move(self, entry: Entry, source: Path, target: Path, step: str) -> None:
        self._rename(entry, source, target, step)
        self._disk.sync_folder(source, f"{step}.sync_outbox")

    def _rename(self, entry: Entry, source: Path, target: Path, step: str) -> None:
        for name, part in ((entry.audio_name, "audio"), (entry.sidecar_name, "sidecar")):
            if (source / name).exists():
                with contextlib.suppress(FileNotFoundError):  # the other process made room with it just now
                    self._disk.rename(source / name, target / name, f"{step}.rename_{part}")
        self._disk.sync_folder(target, f"{step}.sync_target")

    def set_aside(self, path: Path) -> None:
        """Move a file that nothing can be made of into ``damaged/``."""
        target = self.damaged / path.name.removesuffix(PART)
        self._disk.rename(path, target, "damaged.rename_part")
        self._disk.sync_folder(self.damaged, "damaged.sync_target")
        self._disk.sync_folder(path.parent, "damaged.sync_source")

    def remove(self, entry: Entry) -> None:
        """Delete a recording's audio and sidecar (procedure Prune, after its row)."""
        self.settle()
        folder = self.audio(entry).parent
        for name, part in ((entry.audio_name, "audio"), (entry.sidecar_name, "sidecar")):
            self._disk.unlink(folder / name, f"prune.unlink_{part}")
        self._disk.sync_folder(folder, "prune.sync_folder")

    def discard_sidecar(self, path: Path) -> None:
        """Remove the sidecar that a half-done Prune left behind."""
        self._disk.unlink(path, "prune.unlink_sidecar")
        self._disk.sync_folder(path.parent, "prune.sync_folder")

    def discard_temporary(self, path: Path) -> None:
        """Remove a temporary file that a crash left behind."""
        self._disk.unlink(path, "reconcile.unlink_temporary")


def is_damaged(entry: Entry) -> bool:
    """Whether the entry is parked because its file is not what was recorded."""
    return (entry.parked_reason or "").startswith(DAMAGED)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file as 64 lowercase hex digits, reading it a chunk at a time."""
    import hashlib  # noqa: PLC0415 - OpenSSL is the dearest library of a start

    result = hashlib.sha256()
    with open_file(path) as file:
        while chunk := file.read(CHUNK):
            result.update(chunk)
    return result.hexdigest()


def stems(folder: Path, ending: str) -> set[str]:
    """Return the stems of the files in a folder that have the given ending."""
    return {name.removesuffix(ending) for name in names(folder) if name.endswith(ending)}


def names(folder: Path) -> list[str]:
    """Return the names in a folder, oldest first; none when it is missing."""
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return []
