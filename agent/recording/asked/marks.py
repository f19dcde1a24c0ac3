"""Marks: moments of a recording that a person found worth finding again."""

from pathlib import Path

import msgspec

from agent.bounds import DurationMs, Text
from agent.disk import Disk
from agent.json_file import JsonFile
from agent.log import get_logger
from agent.small_file import UnusableFile

log = get_logger(__name__)

FILE = "marks.json"
MOST_PER_RECORDING = 100
LONGEST_TEXT = 80
RECORDINGS = 8
"""Of how many recordings the marks are kept here: only unfinished ones need them, and those are one or two."""

Kept = dict[str, list["Mark"]]


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """One moment, as the metadata of a recording shows it."""

    offset_ms: DurationMs
    """From the first sample of the file."""
    text: Text = ""


KEPT = msgspec.json.Decoder(dict[str, list[Mark]])


class Marks:
    """The marks of recordings that are not finished yet, durable at once; one writing thread."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._file = JsonFile(folder / FILE, KEPT, disk, "marks")
        self._kept = self._load()

    def add(self, recording_id: str, mark: Mark) -> bool:
        """Keep a mark; False when the recording has as many as it may. A disk that refuses is said, no more."""
        marks = self._kept.setdefault(recording_id, [])
        if len(marks) >= MOST_PER_RECORDING:
            return False
        marks.append(msgspec.structs.replace(mark, text=mark.text[:LONGEST_TEXT]))
        self._kept = dict(list(self._kept.items())[-RECORDINGS:])
        try:
            self._file.replace(self._kept)
        except OSError as error:
            log.warning("a mark would not outlive a restart", action="marks_failed", error=error)
        return True

    def of(self, recording_id: str) -> list[dict[str, object]]:
        """Return the marks of a recording as its metadata holds them, oldest first."""
        return [msgspec.to_builtins(mark) for mark in self._kept.get(recording_id, ())]

    def _load(self) -> Kept:
        try:
            return self._file.load()
        except (FileNotFoundError, UnusableFile):
            return {}
