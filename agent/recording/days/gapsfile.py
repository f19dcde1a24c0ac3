"""Reading the gap logs of a state directory: a line at a time, and of one that is too large its end."""

import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from agent.gaps.log import DELIVERY_FILE, FILE, GAP, Cause, Gap, older
from agent.small_file import UnusableFile, decode, open_regular

MOST_BYTES = 64 << 20
"""How much of a file is read: what this program writes is an eighth of it."""
LINE_BYTES = 65_536
"""The longest line that is looked at as one."""
TAIL_BYTES = 65_536
"""How much of the gap log's end is read at a start."""

Complain = Callable[[str], object]


class End(NamedTuple):
    """Where the recorder's gap log ended at some moment."""

    inode: int
    size: int


def ignore(_sentence: str) -> None:
    """Go on with what can be read."""


def read_gaps(folder: Path, complain: Complain = ignore) -> list[Gap]:
    """Return the gaps of a state directory's gap logs, oldest first; a gap that was closed later stands once.

    One that was closed where it began is none. ``complain`` is told of each file that is there and cannot be read.
    """
    gaps = [
        *_as_they_ended(_lines(folder / FILE, complain)),
        *_as_they_ended(_lines(folder / DELIVERY_FILE, complain)),
    ]
    return [gap for gap in gaps if gap.milliseconds != 0]


def let_go(folder: Path, causes: Collection[Cause]) -> set[str]:
    """Return the ids of recordings that the gap logs say are gone for one of some causes; in little memory."""
    words = [f'"{cause}"'.encode() for cause in causes]
    ids: set[str] = set()
    for file in (FILE, DELIVERY_FILE):
        for line in _lines(folder / file, ignore):
            gap = _gap(line) if any(word in line for word in words) else None
            if gap is None or gap.recording_id is None or gap.cause not in causes:
                continue
            if gap.milliseconds == 0:  # it was to go and has stayed
                ids.discard(gap.recording_id)
            else:
                ids.add(gap.recording_id)
    return ids


def end_of_gap_log(folder: Path) -> End:
    """Return where the recorder's gap log ends now."""
    try:
        status = (folder / FILE).stat()
    except OSError:
        return End(0, 0)
    return End(status.st_ino, status.st_size)


def written_since(folder: Path, size: int) -> Iterator[Gap]:
    """Yield what was written to the recorder's gap log since it had a size, line by line: one gap may come twice.

    Since 0, or when the gap log is smaller by now, that is all there is.
    """
    path = folder / FILE
    if not 0 < size <= end_of_gap_log(folder).size:
        yield from filter(None, map(_gap, _lines(path, ignore)))
        return
    with contextlib.ExitStack() as stack:
        for file in _opened((path,), stack, ignore):
            file.seek(size)
            while line := file.readline(LINE_BYTES):
                if (gap := _gap(line)) is not None:
                    yield gap


def last_gaps(folder: Path, end: End) -> list[Gap]:
    """Return the newest gaps of the recorder's gap log as it was when it ended there, oldest first."""
    path = folder / FILE
    with contextlib.ExitStack() as stack:
        files = _opened((path, older(path)), stack, ignore)
        whole = b""
        for file in files:  # the newest first
            status = os.fstat(file.fileno())
            if whole or status.st_ino == end.inode:
                size = status.st_size if whole else end.size
                left = TAIL_BYTES - len(whole)
                whole = os.pread(file.fileno(), min(size, left), max(0, size - left)) + whole
    return _as_they_ended(whole.splitlines())


def _as_they_ended(lines: Iterator[bytes] | list[bytes]) -> list[Gap]:
    gaps: dict[tuple[str, str, int, str | None], Gap] = {}
    for line in lines:
        if (gap := _gap(line)) is not None:
            gaps[gap.key] = gap
    return list(gaps.values())


def _gap(line: bytes) -> Gap | None:
    try:
        return decode(GAP, line)
    except UnusableFile:
        return None


def _lines(path: Path, complain: Complain) -> Iterator[bytes]:
    """Yield the lines of a gap log's two files, oldest first."""
    with contextlib.ExitStack() as stack:
        # Opened before any is read, the newest first: what is rotated meanwhile is read twice, and never missed.
        for file in reversed(_opened((path, older(path)), stack, complain)):
            try:
                file.seek(max(0, os.fstat(file.fileno()).st_size - MOST_BYTES))
                left = MOST_BYTES
                while left > 0 and (line := file.readline(LINE_BYTES)):
                    left -= len(line)
                    yield line
            except OSError as error:
                complain(f"{path} cannot be read ({error.strerror})")


def _opened(paths: tuple[Path, ...], stack: contextlib.ExitStack, complain: Complain) -> list[BinaryIO]:
    files: list[BinaryIO] = []
    for path in paths:
        try:
            descriptor = open_regular(path)
        except FileNotFoundError:
            continue
        except UnusableFile as error:
            complain(f"{path} {error}")
        except OSError as error:
            complain(f"{path} cannot be read ({error.strerror})")
        else:
            files.append(stack.enter_context(os.fdopen(descriptor, "rb")))
    return files
