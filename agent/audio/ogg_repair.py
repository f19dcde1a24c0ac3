"""Making a torn Ogg Opus file whole again: cut behind the last sound page, and let the stream end there."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from agent.audio.ogg import NotOggOpus, read_headers
from agent.audio.ogg_page import HEADER, LAST, MAGIC, NO_GRANULE, Page, build_page, read_page, read_pages
from agent.disk import Disk
from agent.errors import AgentError
from agent.small_file import open_file

_CHUNK = 1 << 16
_MOST_EXTENTS = 1000


class Unrepairable(AgentError):  # noqa: N818 - a verdict on a file, not a malfunction
    """The file holds no audio that could be kept."""


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What to write into a file so that it is a whole stream; nothing has been changed yet."""

    audio_pages: int
    """Pages of audio that stay."""
    samples_48k: int
    """Length of the audio that stays, in samples at 48 kHz per channel."""
    already_complete: bool
    """The file is whole as it is: nothing to write, nothing to cut."""
    patch_offset: int
    patch_bytes: bytes
    """Goes to ``patch_offset``; may be empty."""
    truncate_to: int
    """Size of the repaired file in bytes."""
    cut_bytes: int
    """How much shorter the file becomes."""


def plan_repair(path: Path) -> RepairPlan:
    """Read a file and say how to repair it, in constant memory.

    Raises:
        Unrepairable: it has no sound headers, or no audio before its first page that is not sound.
    """
    count = 0
    last: Page | None = None
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        pages = read_pages(file)
        try:
            head, _tags, _end = read_headers(pages, path)
        except NotOggOpus as problem:
            raise Unrepairable(problem.message, problem.hint) from problem
        for index, page in enumerate(pages, 1):
            if page.granule != NO_GRANULE and page.finished_lacing:
                count, last = index, page
    if last is None or (last.granule <= head.pre_skip and not last.is_last):
        raise Unrepairable(
            f"{path} ends before its first whole page of audio", "there is no audio to keep in it"
        )
    patch, end = _end_stream(last)
    return RepairPlan(
        audio_pages=count,
        samples_48k=max(0, last.granule - head.pre_skip),
        already_complete=not patch and end == size,
        patch_offset=last.offset,
        patch_bytes=patch,
        truncate_to=end,
        cut_bytes=size - end,
    )


def carry_out(plan: RepairPlan, path: Path, disk: Disk) -> None:
    """Repair the file, durably; a second time changes nothing."""
    with open_file(path, os.O_RDWR) as file:
        disk.write_at(file, plan.patch_offset, plan.patch_bytes, "repair.patch")
        disk.truncate(file, plan.truncate_to, "repair.truncate")
        disk.sync(file, "repair.sync")


def holds_sound(path: Path) -> bool:
    """Whether a file has a whole page of sound anywhere, whatever its beginning looks like; in constant memory.

    Holes are passed over: a torn file can claim any size.
    """
    with open_file(path) as file:
        return any(_has_sound(file, begin, end) for begin, end in _extents(file))


def _extents(file: BinaryIO) -> list[tuple[int, int]]:
    """Return where a file that was just opened has data; of very many pieces the last goes to the end."""
    descriptor, found, at = file.fileno(), list[tuple[int, int]](), 0
    try:
        while len(found) < _MOST_EXTENTS:
            begin = os.lseek(descriptor, at, os.SEEK_DATA)
            at = os.lseek(descriptor, begin, os.SEEK_HOLE)
            found.append((begin, at))
        found[-1] = (found[-1][0], os.fstat(descriptor).st_size)
    except OSError as error:
        if error.errno != errno.ENXIO:  # behind the last data
            raise
    return found


def _has_sound(file: BinaryIO, begin: int, end: int) -> bool:
    """Whether a whole page of sound begins in a part of a file."""
    tail = b""
    file.seek(begin)
    while begin < end and (chunk := file.read(_CHUNK)):
        data = tail + chunk
        at = data.find(MAGIC)
        while at >= 0:
            file.seek(begin - len(tail) + at)
            page = read_page(file, begin - len(tail) + at)
            if page is not None and page.granule > 0:
                return True
            at = data.find(MAGIC, at + 1)
        tail = data[1 - len(MAGIC) :]
        begin += len(chunk)
        file.seek(begin)
    return False


def _end_stream(page: Page) -> tuple[bytes, int]:
    """Return what to write over a page so that the stream ends there, and the offset behind it then.

    A packet that would go on in the next page is dropped: the page's granule position never counted it.
    """
    lacing = page.finished_lacing
    end = page.offset + HEADER.size + len(lacing) + sum(lacing)
    if page.is_last and lacing == page.lacing:
        return b"", end
    whole = build_page(
        page.flags | LAST, page.granule, page.serial, page.sequence, lacing, page.body[: sum(lacing)]
    )
    return whole[: HEADER.size] if lacing == page.lacing else whole, end
