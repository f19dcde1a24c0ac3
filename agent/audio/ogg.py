"""Opus in Ogg (RFC 7845): a writer of whole pages, and what a file says about itself."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from agent.audio.ogg_page import (
    CONTINUED,
    FIRST,
    LAST,
    MAX_LACING,
    NO_GRANULE,
    Page,
    build_page,
    lacing_of,
    read_pages,
)
from agent.audio.opus import GRANULE_RATE
from agent.errors import AgentError
from agent.small_file import open_file

_HEAD: Final = Struct("<8sBBHIhB")  # magic, version, channels, pre-skip, input rate, gain, mapping family
_HEAD_MAGIC: Final = b"OpusHead"
_TAGS_MAGIC: Final = b"OpusTags"
_LENGTH: Final = Struct("<I")
_SILENCE: Final = {
    1: b"\xf8\xff\xfe",
    2: b"\xfc\xff\xfe",
}  # a frame that says "silent" and no more, by channels
_SILENCE_SAMPLES: Final = 960


class NotOggOpus(AgentError):  # noqa: N818 - says what the file is, as the sentence does
    """The file does not begin with the headers of an Ogg Opus stream."""


class OpusHead(NamedTuple):
    """The stream's first packet (RFC 7845 section 5.1)."""

    channels: int
    pre_skip: int
    """Samples at 48 kHz that a decoder drops at the start."""
    sample_rate: int
    """Rate of the input; the stream itself is always counted at 48 kHz."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the sound pages of a file say."""

    head: OpusHead
    tags: dict[str, str]
    """Keys in capitals; of a repeated key the last value."""
    audio_pages: int
    granule: int
    """Granule position of the last sound page on which a packet ends; 0 without one."""
    complete: bool
    """Whether the last sound page says that the stream ends there."""
    end: int
    """Offset behind the last sound page."""

    @property
    def samples_48k(self) -> int:
        """Length of the audio in samples at 48 kHz, per channel."""
        return max(0, self.granule - self.head.pre_skip)

    @property
    def samples(self) -> int:
        """Length of the audio in samples at the input's rate, per channel."""
        return self.samples_48k * self.head.sample_rate // GRANULE_RATE


class OggOpusWriter:
    """Puts packets into pages; ``write`` gets one whole page a call.

    A page is closed when it holds ``page_seconds`` of audio, when the next packet would need more than 255
    lacing values, and by ``flush``; a packet too large for any page goes on in the next. One packet is always held
    back, for the page that ends the stream. After an exception of ``write`` the writer is useless: repair the file.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        head: OpusHead,
        *,
        serial: int,
        vendor: str,
        tags: Sequence[tuple[str, str]],
        page_seconds: float = 0.8,
    ) -> None:
        self._write = write
        self._serial = serial
        self._head = head
        self._tags_packet = _tags_packet(vendor, tags)
        self._page_samples = round(page_seconds * GRANULE_RATE)
        self._held: tuple[bytes, int] | None = None
        self._lacing = bytearray()
        self._bodies: list[bytes] = []
        self._samples = 0
        self._position = 0
        self._continued = False
        self._pages = 0
        self._granule = 0

    @property
    def pages(self) -> int:
        """Pages written, headers included."""
        return self._pages

    @property
    def granule(self) -> int:
        """Granule position of the last page written on which a packet ends: what a cut here would keep."""
        return self._granule

    def write_headers(self) -> None:
        """Write the page of OpusHead and the page or pages of OpusTags."""
        head = self._head
        self._add(_HEAD.pack(_HEAD_MAGIC, 1, head.channels, head.pre_skip, head.sample_rate, 0, 0), 0)
        self._close_page()
        self._add(self._tags_packet, 0)
        self._close_page()

    def packet(self, data: bytes, samples_48k: int) -> None:
        """Take a packet of ``samples_48k`` samples at 48 kHz; the one before it goes into a page."""
        if self._held is not None:
            self._add(*self._held)
            if self._samples >= self._page_samples:
                self._close_page()
        self._held = (data, samples_48k)

    def flush(self) -> None:
        """Write the page that is open, however short, so that only the packet held back is not written."""
        if self._lacing:
            self._close_page()

    def finish(self, total_samples_48k: int) -> None:
        """Write the last page: the stream ends after ``total_samples_48k`` samples, the pre-skip not counted.

        A stream without packets gets silent ones that cover the pre-skip: it is valid, and 0 samples long.

        Raises:
            ValueError: the packets are too short for that many samples, or a page already goes beyond them.
        """
        end = self._head.pre_skip + total_samples_48k
        if self._held is None:
            self._hold_silence()
        if self._held is not None:
            self._add(*self._held)
            self._held = None
        if not self._granule <= end <= self._position:
            raise ValueError(f"the stream cannot end at {end}: its packets end at {self._position}")
        self._position = end
        self._close_page(LAST)

    def _hold_silence(self) -> None:
        silence = _SILENCE[self._head.channels]
        for _ in range(max(1, -(-self._head.pre_skip // _SILENCE_SAMPLES))):
            self.packet(silence, _SILENCE_SAMPLES)

    def _add(self, data: bytes, samples: int) -> None:
        """Put a packet into the open page, behind as many full pages as it needs."""
        lacing = lacing_of(len(data))
        if self._lacing and len(self._lacing) + len(lacing) > MAX_LACING:
            self._close_page()
        while len(lacing) > MAX_LACING:
            size = MAX_LACING * MAX_LACING
            self._send(0, NO_GRANULE, lacing[:MAX_LACING], data[:size])
            lacing, data = lacing[MAX_LACING:], data[size:]
            self._continued = True
        self._lacing += lacing
        self._bodies.append(data)
        self._samples += samples
        self._position += samples

    def _close_page(self, flags: int = 0) -> None:
        self._send(flags, self._position, bytes(self._lacing), b"".join(self._bodies))
        self._granule = self._position
        self._lacing.clear()
        self._bodies.clear()
        self._samples = 0

    def _send(self, flags: int, granule: int, lacing: bytes, body: bytes) -> None:
        if self._continued:
            flags |= CONTINUED
        if self._pages == 0:
            flags |= FIRST
        self._write(build_page(flags, granule, self._serial, self._pages, lacing, body))
        self._continued = False
        self._pages += 1


def read_summary(path: Path) -> Summary:
    """Read a whole file, page by page, up to its end or the first page that is not sound.

    Raises:
        NotOggOpus: it does not begin with both headers.
    """
    with open_file(path) as file:
        pages = read_pages(file)
        head, tags, end = read_headers(pages, path)
        count = granule = 0
        complete = False
        for page in pages:
            count += 1
            end = page.offset + page.size
            complete = page.is_last
            if page.granule != NO_GRANULE:
                granule = page.granule
    return Summary(head, tags, count, granule, complete, end)


def read_headers(pages: Iterator[Page], path: Path) -> tuple[OpusHead, dict[str, str], int]:
    """Take both headers from ``pages`` and return them with the offset behind them; audio pages follow.

    Raises:
        NotOggOpus: there are no two sound headers; ``path`` is named in it.
    """
    try:
        head = _parse_head(next(pages).body)
        page = next(pages)
        packet = page.body
        while page.is_unfinished:
            page = next(pages)
            packet += page.body
        tags = _parse_tags(packet)
    except (StopIteration, ValueError) as problem:
        raise NotOggOpus(
            f"{path} is no Ogg Opus file, or was cut within its headers", "there is no audio to keep in it"
        ) from problem
    return head, tags, page.offset + page.size


def _parse_head(packet: bytes) -> OpusHead:
    if len(packet) < _HEAD.size or not packet.startswith(_HEAD_MAGIC):
        raise ValueError("no OpusHead")
    _magic, _version, channels, pre_skip, sample_rate, _gain, _family = _HEAD.unpack_from(packet)
    return OpusHead(channels, pre_skip, sample_rate)


def _parse_tags(packet: bytes) -> dict[str, str]:
    if not packet.startswith(_TAGS_MAGIC):
        raise ValueError("no OpusTags")
    _vendor, offset = _take_text(packet, len(_TAGS_MAGIC))
    count = int.from_bytes(packet[offset : offset + _LENGTH.size], "little")
    offset += _LENGTH.size
    tags = {}
    for _ in range(count):
        text, offset = _take_text(packet, offset)
        key, _equals, value = text.partition("=")
        tags[key.upper()] = value
    return tags


def _take_text(packet: bytes, offset: int) -> tuple[str, int]:
    start = offset + _LENGTH.size
    end = start + int.from_bytes(packet[offset:start], "little")
    if end > len(packet):
        raise ValueError("OpusTags are cut short")
    return packet[start:end].decode("utf-8", "replace"), end


def _tags_packet(vendor: str, tags: Sequence[tuple[str, str]]) -> bytes:
    """Return OpusTags (RFC 7845 section 5.2); raises ValueError for a key that the format cannot carry."""
    for key, _value in tags:
        if not key or not all(" " <= letter <= "}" and letter != "=" for letter in key):
            raise ValueError(f"{key!r} is no key for a tag")
    texts = [f"{key}={value}".encode() for key, value in tags]
    name = vendor.encode()
    parts = [_TAGS_MAGIC, _LENGTH.pack(len(name)), name, _LENGTH.pack(len(texts))]
    for text in texts:
        parts += [_LENGTH.pack(len(text)), text]
    return b"".join(parts)
