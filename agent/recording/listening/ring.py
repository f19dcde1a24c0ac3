"""The last minutes, encoded and in memory: what a recording that somebody starts begins with.

Invariants
    K1  The ring holds one stream of packets without a break: lost samples, and the time of a lost microphone, are
        silence in it, so that its samples are its time. After a longer break it begins anew.
    K2  What is taken begins ``lead`` frames early, which a decoder drops with the pre-skip (RFC 7845 section 4.2: at
        least 80 ms for a stream that begins in the middle), so that its first sample sounds as it was.
    K3  What is taken is gone: no sample stands in two recordings.
    K4  Memory: the packets, and 16 bytes a frame beside them; half an hour at 32 kbit/s is 8 MB.
"""

import sys
from array import array
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from agent.audio.opus import GRANULE_RATE, OpusEncoder
from agent.audio.pcm import LIMIT, WIDTH, Measure, clipped, measure
from agent.recording.listener import HeardBlock

LEAD_SECONDS: Final = 0.08
"""So long a decoder takes to forget that it did not hear the beginning."""
CHUNK_SECONDS: Final = 1.0
LATE_SECONDS: Final = 2.0
"""So much more is kept: what is asked for now is begun when the newest block has come through the pipe."""
APART_SECONDS: Final = 0.1
"""By so much at least a sample must be off its place for a break to have lain before it."""


class Packet(NamedTuple):
    """One frame of sound, encoded."""

    data: bytes
    measured: Measure
    clipped: int
    """Samples at the limit of 16 bits."""


class _Chunk:
    """A second of packets, without an object for each."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.sizes, self.peaks, self.clipped = array("H"), array("H"), array("H")
        self.energies = array("d")

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def size_bytes(self) -> int:
        columns = (self.data, self.sizes, self.peaks, self.clipped, self.energies)
        return sum(map(sys.getsizeof, columns))

    def add(self, packet: Packet) -> None:
        self.data += packet.data
        self.sizes.append(len(packet.data))
        self.peaks.append(packet.measured.peak)
        self.energies.append(packet.measured.energy)
        self.clipped.append(min(packet.clipped, 0xFFFF))

    def packets(self, first: int) -> Iterator[Packet]:
        """Yield the packets from one on."""
        at = sum(self.sizes[:first])
        for number in range(first, len(self)):
            size = self.sizes[number]
            yield Packet(
                bytes(self.data[at : at + size]),
                Measure(self.peaks[number], self.energies[number]),
                self.clipped[number],
            )
            at += size


class Prelude(NamedTuple):
    """What a recording begins with; its encoder goes on where the last packet ended."""

    chunks: list[_Chunk]
    first: int
    """The packet of the first chunk with which it begins."""
    lead: int
    """So many packets are only for the decoder to begin with."""
    frames: int
    """Packets behind them."""
    frame_samples: int
    """Per channel."""
    pending: bytes
    """Samples behind the last packet that fill no frame yet."""
    samples: int
    """Per channel: of the frames, and the pending ones."""
    begins_at: float
    """When the first sample was captured, in seconds of the boot clock."""
    gaps: list[tuple[int, int]]
    """Silence in it: at which sample from the beginning, and how many samples."""
    is_interrupted: bool
    """Whether what is captured next does not follow."""

    def packets(self) -> Iterator[Packet]:
        """Yield all packets once, letting go of them."""
        first = self.first
        while self.chunks:
            yield from self.chunks.pop(0).packets(first)
            first = 0


class PacketRing:
    """Encodes what is heard while nothing is recorded, and keeps the newest ``seconds`` of it; one thread."""

    def __init__(self, encoder: OpusEncoder, sample_rate: int, channels: int, seconds: int) -> None:
        self._encoder = encoder
        self._rate, self._width = sample_rate, WIDTH * channels
        self._frame = encoder.frame_samples
        self._lead = -(-round(LEAD_SECONDS * sample_rate) // self._frame)
        self._kept = -(-round((seconds + LATE_SECONDS) * sample_rate) // self._frame)
        self._chunk = max(1, round(CHUNK_SECONDS * sample_rate) // self._frame)
        self._longest = seconds
        self._chunks: deque[_Chunk] = deque()
        self.clear()

    @property
    def size_bytes(self) -> int:
        """How much memory its packets take, with what is kept beside them."""
        return sum(chunk.size_bytes for chunk in self._chunks)

    def clear(self) -> None:
        """Forget all of it."""
        self._chunks.clear()
        self._pending = b""
        self._frames = 0
        """In the chunks."""
        self._all_frames = 0
        """Since the stream began."""
        self._gaps: deque[tuple[int, int]] = deque()
        """Silence: at which sample of the stream, and how many."""
        self._ends_at = 0.0
        self._is_new, self._is_interrupted = True, False

    def interrupt(self) -> None:
        """Samples are missing before the next block, and nobody knows how many."""
        self._is_interrupted = True

    def take(self, heard: HeardBlock) -> None:
        """Take the next block."""
        if self._is_interrupted or heard.resumed:
            self._bridge(heard)
        elif heard.missing and not self._is_new:
            self._add_silence(heard.missing)
        if self._is_new:
            self._encoder.reset()
            self._is_new = False
        self._add(heard.block.samples)
        self._ends_at = heard.begins_at + len(heard.block.samples) / self._width / self._rate
        self._trim()

    def release(self, asked_at: float) -> Prelude | None:
        """Give away what was heard in the last seconds before a moment of the boot clock; begin anew.

        None while there is nothing.
        """
        if self._is_new or not (self._frames or self._pending):
            return None
        wanted = round((self._ends_at - asked_at + self._longest) * self._rate)
        kept = -(-(wanted - len(self._pending) // self._width) // self._frame)
        kept = min(self._frames, self._kept, max(0, kept))
        lead = min(self._lead, self._frames - kept)
        first = self._frames - kept - lead
        begin = (self._all_frames - kept) * self._frame
        samples = kept * self._frame + len(self._pending) // self._width
        chunks = list(self._chunks)
        while chunks and first >= len(chunks[0]):
            first -= len(chunks.pop(0))
        gaps = [(max(0, at - begin), count - max(0, begin - at)) for at, count in self._gaps]
        prelude = Prelude(
            chunks,
            first,
            lead,
            kept,
            self._frame,
            self._pending,
            samples,
            self._ends_at - samples / self._rate,
            [(at, count) for at, count in gaps if count > 0],
            self._is_interrupted,
        )
        self.clear()
        return prelude

    def _bridge(self, heard: HeardBlock) -> None:
        """Put silence in the place of a break; begin anew where it was longer than what is kept."""
        apart = heard.begins_at - self._ends_at
        if self._is_new or not -APART_SECONDS < apart < self._longest:
            self.clear()
        elif apart > APART_SECONDS:
            self._add_silence(round(apart * self._rate))
        self._is_interrupted = False

    def _add_silence(self, samples: int) -> None:
        if samples > self._longest * self._rate:
            self.clear()
            return
        at = self._all_frames * self._frame + len(self._pending) // self._width
        self._gaps.append((at, samples))
        second = bytes(self._rate * self._width)
        for done in range(0, samples, self._rate):
            self._add(second[: (samples - done) * self._width])
            self._trim()

    def _add(self, samples: bytes) -> None:
        size = self._encoder.frame_bytes
        pcm = self._pending + samples
        whole = len(pcm) - len(pcm) % size
        self._pending = pcm[whole:]
        for number, data in enumerate(self._encoder.encode_frames(memoryview(pcm)[:whole])):
            frame = pcm[number * size : (number + 1) * size]
            measured = measure(frame)
            if not self._chunks or len(self._chunks[-1]) >= self._chunk:
                self._chunks.append(_Chunk())
            self._chunks[-1].add(Packet(data, measured, clipped(frame) if measured.peak >= LIMIT else 0))
            self._frames += 1
            self._all_frames += 1

    def _trim(self) -> None:
        while self._chunks and self._frames - len(self._chunks[0]) >= self._kept + self._lead:
            self._frames -= len(self._chunks.popleft())
        begin = (self._all_frames - self._kept) * self._frame
        while self._gaps and sum(self._gaps[0]) <= begin:
            self._gaps.popleft()


def pre_skip_of(encoder: OpusEncoder, prelude: Prelude | None, sample_rate: int) -> int:
    """Return the samples at 48 kHz that a decoder drops at the start of a stream."""
    lead = 0 if prelude is None else prelude.lead * prelude.frame_samples
    return encoder.pre_skip + lead * GRANULE_RATE // sample_rate
