"""An Ogg Opus file as the sound that it plays: for a person who wants to hear it with what every machine has."""

import io
import wave
from collections.abc import Iterator
from pathlib import Path

from agent.audio.ogg import read_headers
from agent.audio.ogg_page import NO_GRANULE, Page, read_pages
from agent.audio.opus import GRANULE_RATE, load_opuslib
from agent.audio.pcm import WIDTH
from agent.errors import AgentError
from agent.small_file import open_file

_LONGEST_FRAME = GRANULE_RATE * 120 // 1000
"""Samples: no packet of Opus lasts longer."""


def wav_of(path: Path) -> bytes:
    """Return what a file plays, as a WAV of 16 bits at 48 kHz: without the pre-skip, and up to its last granule.

    Raises:
        NotOggOpus: it does not begin with both headers.
        AgentError: libopus is missing, or a packet is damaged.
    """
    library = load_opuslib()
    with open_file(path) as file:
        pages = read_pages(file)
        head, _tags, _end = read_headers(pages, path)
        heard = list(pages)
    granule = max((page.granule for page in heard if page.granule != NO_GRANULE), default=0)
    try:
        decoder = library.Decoder(GRANULE_RATE, head.channels)
        pcm = b"".join(decoder.decode(packet, _LONGEST_FRAME) for packet in _packets(heard))
    except library.OpusError as problem:
        raise AgentError(f"{path} cannot be decoded", "record once more") from problem
    width = WIDTH * head.channels
    written = io.BytesIO()
    with wave.open(written, "wb") as wav:
        wav.setnchannels(head.channels)
        wav.setsampwidth(WIDTH)
        wav.setframerate(GRANULE_RATE)
        wav.writeframes(pcm[head.pre_skip * width : granule * width])
    return written.getvalue()


def _packets(pages: list[Page]) -> Iterator[bytes]:
    """Yield the packets, whole, whatever pages they are spread over."""
    begun = b""
    for page in pages:
        pieces = page.pieces
        for number, piece in enumerate(pieces):
            begun += piece
            if number < len(pieces) - 1 or not page.is_unfinished:
                yield begun
                begun = b""
