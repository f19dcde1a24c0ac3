"""The door for files that others may have written: regular ones of a bounded size, decoded into a bounded type.

A state directory can hold anything a file system can: a FIFO that nobody writes to, a folder or a dangling link at the
name of a file, a gigabyte, bytes that are no UTF-8, numbers that no type holds. All of it is one exception here.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar, cast

import msgspec

SMALL_BYTES = 1 << 20
"""The largest state file and sidecar that is read."""

SHORT_OF_MEANS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOLCK, errno.EINTR}
"""Errors that say nothing about the file."""
OF_THE_DISK = SHORT_OF_MEANS | {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors that say nothing about the file, and that all others meet too."""

T_co = TypeVar("T_co", covariant=True)


class UnusableFile(Exception):  # noqa: N818 - what it is, not that it is an error
    """A file that is there and is of no use: the end of a sentence that begins with its name."""


class Decoder(Protocol[T_co]):
    """What msgspec's decoders have in common."""

    def decode(self, buf: bytes, /) -> T_co:
        """Return the value; msgspec.DecodeError and others for what is none."""


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file without following a link or waiting for anybody; return its descriptor.

    Raises:
        UnusableFile: it is something else.
        OSError: it is missing or cannot be opened.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UnusableFile("is not a regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnusableFile("is not a regular file")
    return descriptor


def open_file(path: Path, flags: int = os.O_RDONLY) -> BinaryIO:
    """Return a regular file to read from, or with ``os.O_RDWR`` to write into unbuffered; see ``open_regular``.

    Raises:
        OSError: it is missing, cannot be opened, or is something else (ENOTSUP).
    """
    try:
        descriptor = open_regular(path, flags)
    except UnusableFile as error:
        raise OSError(errno.ENOTSUP, str(error), str(path)) from error
    if flags & os.O_RDWR:
        return cast("BinaryIO", os.fdopen(descriptor, "r+b", buffering=0))
    return os.fdopen(descriptor, "rb")


def is_regular(path: Path) -> bool:
    """Return whether there is a regular file of that name itself, not behind a link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def read_bytes(path: Path, limit: int = SMALL_BYTES) -> bytes:
    """Return the contents of a regular file of at most ``limit`` bytes.

    Raises:
        UnusableFile: it is something else, or larger.
        OSError: it is missing or cannot be read.
    """
    descriptor = open_regular(path)
    try:
        pieces: list[bytes] = []
        left = limit + 1
        while left > 0 and (piece := os.read(descriptor, min(left, 1 << 16))):
            pieces.append(piece)
            left -= len(piece)
    finally:
        os.close(descriptor)
    if left <= 0:
        raise UnusableFile(f"is larger than {limit} bytes")
    return b"".join(pieces)


def decode(decoder: Decoder[T_co], data: bytes) -> T_co:
    """Return the value that ``data`` encodes.

    Raises:
        UnusableFile: it encodes none of the decoder's type.
    """
    try:
        return decoder.decode(data)
    except UnicodeDecodeError as error:
        raise UnusableFile("contains invalid UTF-8") from error
    except RecursionError as error:
        raise UnusableFile("is nested too deeply") from error
    except (msgspec.DecodeError, ValueError, OverflowError) as error:
        raise UnusableFile(f"cannot be understood ({str(error)[:200]})") from error


def load(path: Path, decoder: Decoder[T_co], limit: int = SMALL_BYTES) -> T_co:
    """Return what a file holds.

    Raises:
        FileNotFoundError: there is none.
        UnusableFile: it cannot be read, or holds nothing of the decoder's type.
    """
    try:
        data = read_bytes(path, limit)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnusableFile(f"cannot be read ({error.strerror})") from error
    return decode(decoder, data)


def load_or_none(path: Path, decoder: Decoder[T_co], limit: int = SMALL_BYTES) -> T_co | None:
    """Return what a file holds, None when there is none or when it holds nothing of the decoder's type."""
    try:
        return load(path, decoder, limit)
    except (OSError, UnusableFile):
        return None
