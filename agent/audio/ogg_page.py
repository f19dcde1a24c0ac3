"""Ogg pages (RFC 3533): their bytes, their checksum, and reading them back."""

import zlib
from collections.abc import Iterator
from struct import Struct
from typing import BinaryIO, Final, NamedTuple

CONTINUED: Final = 1
"""Flag: the first packet of the page began on an earlier one."""
FIRST: Final = 2
"""Flag: beginning of the stream."""
LAST: Final = 4
"""Flag: end of the stream."""
NO_GRANULE: Final = -1
"""Granule position of a page on which no packet ends."""
MAX_LACING: Final = 255
"""Lacing values in a page, and bytes that one lacing value stands for."""

HEADER: Final = Struct("<4sBBqIIIB")  # magic, version, flags, granule, serial, sequence, CRC, lacing values
MAGIC: Final = b"OggS"
_CRC: Final = slice(22, 26)
_BITS_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Page(NamedTuple):
    """One page as it stands in a file."""

    offset: int
    """Where it begins, in bytes."""
    flags: int
    granule: int
    """Position at the end of the last packet that ends here, or ``NO_GRANULE``."""
    serial: int
    sequence: int
    lacing: bytes
    body: bytes

    @property
    def size(self) -> int:
        """Bytes of the whole page."""
        return HEADER.size + len(self.lacing) + len(self.body)

    @property
    def is_last(self) -> bool:
        """Whether the stream ends here."""
        return bool(self.flags & LAST)

    @property
    def is_unfinished(self) -> bool:
        """Whether the last packet goes on in the next page."""
        return self.lacing.endswith(b"\xff")

    @property
    def finished_lacing(self) -> bytes:
        """The lacing values up to the last packet that ends here; empty when none does."""
        return self.lacing.rstrip(b"\xff")

    @property
    def pieces(self) -> list[bytes]:
        """The packets in it; the first and the last may be parts of one."""
        found = []
        start = end = 0
        for value in self.lacing:
            end += value
            if value < MAX_LACING:
                found.append(self.body[start:end])
                start = end
        return [*found, self.body[start:end]] if self.is_unfinished else found


def lacing_of(size: int) -> bytes:
    """Return the lacing values of a packet of ``size`` bytes."""
    return b"\xff" * (size // MAX_LACING) + bytes((size % MAX_LACING,))


def build_page(flags: int, granule: int, serial: int, sequence: int, lacing: bytes, body: bytes) -> bytes:
    """Return the bytes of a page, checksum included."""
    page = bytearray(HEADER.pack(MAGIC, 0, flags, granule, serial, sequence, 0, len(lacing)))
    page += lacing
    page += body
    page[_CRC] = checksum(page)
    return bytes(page)


def granule_of(page: bytes) -> int:
    """Return the granule position of a page."""
    granule: int = HEADER.unpack_from(page)[3]
    return granule


def checksum(page: bytes | bytearray) -> bytes:
    """Return the CRC of a page whose own CRC field is zero, as the four bytes that go there.

    Ogg's CRC has zlib's polynomial, but takes the bits of each byte the other way round, and starts from 0.
    """
    reversed_crc = zlib.crc32(page.translate(_BITS_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return reversed_crc.to_bytes(4, "big").translate(_BITS_REVERSED)


def read_pages(file: BinaryIO) -> Iterator[Page]:
    """Yield the pages of the one stream in a file, from where it stands, in constant memory.

    Stops after the page that ends the stream, or before the first that is torn, damaged, or does not follow.
    """
    offset = file.tell()
    previous = None
    while (page := read_page(file, offset)) is not None and _follows(page, previous):
        yield page
        if page.is_last:
            return
        previous = page
        offset += page.size


def read_page(file: BinaryIO, offset: int) -> Page | None:
    """Return the page that begins where the file stands, at ``offset``; None when there is no whole and sound one."""
    header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    magic, version, flags, granule, serial, sequence, _crc, count = HEADER.unpack(header)
    if magic != MAGIC or version != 0:
        return None
    lacing = file.read(count)
    size = sum(lacing)
    body = file.read(size)
    if len(lacing) < count or len(body) < size:
        return None
    whole = bytearray(header + lacing + body)
    whole[_CRC] = bytes(4)
    if checksum(whole) != header[_CRC]:
        return None
    return Page(offset, flags, granule, serial, sequence, lacing, body)


def _follows(page: Page, previous: Page | None) -> bool:
    """Whether a page carries on the stream: where a write was lost, an older file may shine through."""
    if previous is None:
        return page.flags & (FIRST | CONTINUED) == FIRST
    return (
        page.serial == previous.serial
        and page.sequence == (previous.sequence + 1) & 0xFFFFFFFF
        and not page.flags & FIRST
        and bool(page.flags & CONTINUED) == previous.is_unfinished
    )
