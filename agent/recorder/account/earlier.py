"""What earlier runs recorded, read from the files alone: where they begin and where their last whole page ends.

The deliverer works on the same files meanwhile: it repairs a torn one and moves it, under the name it keeps. So each is
looked for in all folders, and read without its lock, until nobody has changed it under the reading.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agent.audio.ogg import NotOggOpus, read_summary
from agent.clock import Instant
from agent.log import get_logger
from agent.outbox import sidecar
from agent.outbox.files import AUDIO, SIDECAR, Files, names
from agent.recording.filename import number_of
from agent.recording.segment import PART, SegmentStart, end_of
from agent.small_file import UnusableFile

log = get_logger(__name__)

UNASKED = {"continuous", "schedule", "voice"}
"""Modes of recordings that nobody has to ask for: without memory, only these are known to fill a recorder's time."""
NEWEST = 20
"""How many of the newest files are looked at when ``recorder.json`` is lost."""
TRIES = 20
AGAIN_SECONDS = 0.02


class RecordedSpan(NamedTuple):
    """A file of an earlier run that holds sound."""

    number: int
    began: Instant
    ended: Instant


def stretches(files: Files, *, since_number: int, recorders: int | None) -> list[RecordedSpan]:
    """Return the stretches of an earlier recorder in the files from a number on, oldest first.

    ``recorders`` is the number of a file that is certainly the recorder's own, whatever its mode: commands record
    files of their own, which fill no time of the recorder's.
    """
    stems = {
        name.split(".", 1)[0]
        for folder in (files.recording, files.outbox, files.sent, files.damaged)
        for name in names(folder)
        if number_of(name) >= max(1, since_number)
    }
    newest = sorted(stems, key=number_of)[-NEWEST:]
    found = [_stretch(files, stem, is_recorders=number_of(stem) == recorders) for stem in newest]
    return [stretch for stretch in found if stretch is not None]


def _stretch(files: Files, stem: str, *, is_recorders: bool) -> RecordedSpan | None:
    for _ in range(TRIES):
        for read in (_from_sidecar, _from_audio):
            try:
                mode, start, ended = read(files, stem)
            except (FileNotFoundError, _Changed):
                continue
            except OSError as error:
                log.warning(
                    "what an earlier run recorded cannot be read",
                    action="earlier_unreadable",
                    recording=stem,
                    error=error,
                )
                return None
            is_one = (is_recorders or mode in UNASKED) and ended.boot_ms > start.boot_ms
            return RecordedSpan(number_of(stem), start, ended) if is_one else None
        if not any(path.exists() for path in _places(files, stem)):
            return None
        time.sleep(AGAIN_SECONDS)
    return None


class _Changed(Exception):  # noqa: N818 - it has to be read again
    """Somebody wrote to the file, or moved it, while it was read."""


def _places(files: Files, stem: str) -> Iterator[Path]:
    yield files.recording / f"{stem}{AUDIO}{PART}"
    for folder in (files.outbox, files.sent, files.damaged):
        yield folder / f"{stem}{AUDIO}"


def _from_sidecar(files: Files, stem: str) -> tuple[str, Instant, Instant]:
    for folder in (files.outbox, files.sent, files.damaged):
        entry = sidecar.read(folder / f"{stem}{SIDECAR}")
        if entry is not None:
            return entry.mode, entry.started, entry.started.later(entry.duration_ms)
    raise FileNotFoundError(stem)


def _from_audio(files: Files, stem: str) -> tuple[str, Instant, Instant]:
    """Read the last granule of a file; one without sound begins and ends at once."""
    for path in _places(files, stem):
        with contextlib.suppress(FileNotFoundError, UnusableFile):
            before = path.lstat()
            try:
                summary = read_summary(path)
            except NotOggOpus:
                summary = None
            after = path.lstat()
            if (before.st_ino, before.st_size, before.st_mtime_ns) != (
                after.st_ino,
                after.st_size,
                after.st_mtime_ns,
            ):
                raise _Changed
            start = SegmentStart.from_tags(summary.tags) if summary is not None else None
            if summary is None or start is None:
                return "", NOWHEN, NOWHEN
            samples = summary.samples_48k * start.sample_rate // 48000
            return start.mode, start.started, end_of(start, samples)
    raise FileNotFoundError(stem)


NOWHEN = Instant(0, "", 0, "unsynchronized")
