"""A WAV file as a source of sound, as fast as it goes or at the pace of a microphone."""

import shlex
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from agent.audio.opus import SAMPLE_RATES
from agent.audio.source import Block, EndOfSource, SourceLost, SourceState
from agent.errors import AgentError

FILE_PREFIX: Final = "file:"
"""How ``audio.input`` names a file instead of a device."""

_LOOP_SUFFIX: Final = "?loop"
_ACCEPTED: Final = "a WAV file of 16-bit PCM at 8, 12, 16, 24 or 48 kHz, mono or stereo, is needed"
_SAMPLE_BITS: Final = 16
_PCM: Final = 1
_EXTENSIBLE: Final = 0xFFFE
_FORMAT_BYTES: Final = 40  # of the longest format chunk, the extensible one
_FORMAT_NAMES: Final = {
    2: "ADPCM",
    3: "floating-point",
    6: "A-law",
    7: "mu-law",
    0x11: "ADPCM",
    0x31: "GSM",
    0x55: "MP3",
}
_GUID_TAIL: Final = bytes.fromhex(
    "000000001000800000aa00389b71"
)  # of the subformats that are plain format tags
_STREAMED_SIZES: Final = (0, 0xFFFFFFFF)  # what a writer to a pipe leaves in the header
_TIMER_SLACK: Final = 1e-6  # seconds; a wait may end a rounding error early


class RealTime(NamedTuple):
    """The clock that paces a file as a microphone would be."""

    monotonic: Callable[[], float]
    wait: Callable[[float], object]
    """Sleeps for so many seconds, or less when something happens."""


class WavFormat(NamedTuple):
    """Where the samples of a file are, and what they are."""

    sample_rate: int
    channels: int
    offset: int
    samples: int
    """Per channel."""


class WavFile:
    """Implements ``agent.audio.source.Source``: blocks of ``block_ms``, the last may be shorter.

    With ``loop`` the file starts again where it ends, within a block. With ``realtime`` each block is given
    out when a microphone opened by the first ``read`` would have it; after a stall those that are due come at
    once, and none is lost. Without it they come as they are read, and ``captured_at`` counts from ``start``.
    A ``read`` after ``close`` begins at the start of the file again.

    Raises:
        AgentError: the file cannot be read, or is not what Opus takes.
    """

    def __init__(
        self,
        path: Path,
        *,
        loop: bool = False,
        realtime: RealTime | None = None,
        block_ms: int = 60,
        start: float = 0.0,
    ) -> None:
        self._path = path
        self._format = read_wav_format(path)
        self._loop = loop
        self._realtime = realtime
        self._frame_bytes = self._format.channels * _SAMPLE_BITS // 8
        self._block_bytes = self._format.sample_rate * block_ms // 1000 * self._frame_bytes
        self._start = start
        self._file: BinaryIO | None = None
        self._left = 0
        self._samples_out = 0
        self._sequence = 0
        self._next = b""
        self._state = SourceState.CLOSED

    @property
    def sample_rate(self) -> int:
        """Samples per second and channel."""
        return self._format.sample_rate

    @property
    def channels(self) -> int:
        """1 or 2."""
        return self._format.channels

    @property
    def state(self) -> SourceState:
        """CLOSED, LISTENING or ENDED."""
        return self._state

    @property
    def identity(self) -> str:
        """``file:`` and the path."""
        return f"{FILE_PREFIX}{self._path}"

    @property
    def name(self) -> str:
        """The file's name."""
        return self._path.name

    @property
    def total_samples(self) -> int | None:
        """Samples per channel until the end; None when there is no end."""
        return None if self._loop else self._format.samples

    def read(self, timeout: float) -> Block | None:
        """Return the next block, or None when it is not due within ``timeout`` seconds.

        Raises:
            SourceLost: the file can no longer be read; that is its end, too.
            EndOfSource: the file is at its end, and at every call from then on until ``close``.
        """
        if self._state is SourceState.ENDED:
            raise EndOfSource
        try:
            if self._file is None:
                self._open()
            if not self._next:
                self._next = self._take()
        except OSError as problem:
            self.close()
            self._state = SourceState.ENDED
            raise SourceLost(f"{self._path} can no longer be read: {problem.strerror}") from problem
        if not self._next:
            self.close()
            self._state = SourceState.ENDED
            raise EndOfSource
        samples_out = self._samples_out + len(self._next) // self._frame_bytes
        captured_at = self._start + samples_out / self.sample_rate
        if self._realtime is not None and not _reached(captured_at, self._realtime, timeout):
            return None
        block = Block(self._sequence, captured_at, overflow=False, samples=self._next)
        self._samples_out = samples_out
        self._sequence += 1
        self._next = b""
        return block

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._state = SourceState.CLOSED

    def _open(self) -> None:
        self._file = self._path.open("rb")
        self._rewind(self._file)
        self._samples_out = self._sequence = 0
        self._next = b""
        if self._realtime is not None:
            self._start = self._realtime.monotonic()
        self._state = SourceState.LISTENING

    def _rewind(self, file: BinaryIO) -> None:
        file.seek(self._format.offset)
        self._left = self._format.samples * self._frame_bytes

    def _take(self) -> bytes:
        """Return the samples of the next block; empty at the end."""
        file = self._file
        if file is None:
            return b""
        taken = file.read(min(self._block_bytes, self._left))
        self._left -= len(taken)
        while self._loop and len(taken) < self._block_bytes:
            self._rewind(file)
            more = file.read(min(self._block_bytes - len(taken), self._left))
            if not more:
                raise OSError(0, "it has become empty")
            self._left -= len(more)
            taken += more
        return taken


def parse_file_input(text: str) -> tuple[Path, bool]:
    """Split ``file:PATH`` or ``file:PATH?loop`` into path and loop; raises ValueError for anything else."""
    path = text.removeprefix(FILE_PREFIX).removesuffix(_LOOP_SUFFIX)
    if not text.startswith(FILE_PREFIX) or not path:
        raise ValueError(f"{text!r} is not file:PATH or file:PATH?loop")
    return Path(path), text.endswith(_LOOP_SUFFIX)


def read_wav_format(path: Path) -> WavFormat:
    """Read the header of a WAV file (RIFF, 16-bit PCM, also as WAVE_FORMAT_EXTENSIBLE).

    Data that is shorter than its header says counts as far as it goes, in whole frames; a size that a writer
    to a pipe left open means up to the end of the file.

    Raises:
        AgentError: it cannot be read, is something else, or holds no samples.
    """
    try:
        if not path.is_file():
            raise AgentError(f"{path} is not a file: name an existing WAV file")
        with path.open("rb") as file:
            return _parse(file, path, path.stat().st_size)
    except OSError as problem:
        raise AgentError(
            f"{path} cannot be read ({problem.strerror}): name a WAV file that can be"
        ) from problem


def _parse(file: BinaryIO, path: Path, file_size: int) -> WavFormat:
    magic, _size, kind = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
    if (magic, kind) != (b"RIFF", b"WAVE"):
        raise _unsuitable(path, "is no WAV file")
    sample_format = None
    while len(header := file.read(8)) == 8:  # noqa: PLR2004 - a chunk's name and size
        name, size = struct.unpack("<4sI", header)
        if name == b"data" and sample_format is not None:
            rate, channels = sample_format
            offset = file.tell()
            available = file_size - offset
            size = available if size in _STREAMED_SIZES else min(size, available)
            samples = size // (channels * _SAMPLE_BITS // 8)
            if samples == 0:
                raise AgentError(f"{path} holds no samples: name a WAV file with sound in it")
            return WavFormat(rate, channels, offset, samples)
        if name == b"fmt ":
            sample_format = _parse_format(file.read(min(size, _FORMAT_BYTES)), path)
            size -= min(size, _FORMAT_BYTES)
        file.seek(size + size % 2, 1)  # chunks are padded to even sizes
    raise _unsuitable(path, "is a damaged WAV file without a format and samples")


def _parse_format(chunk: bytes, path: Path) -> tuple[int, int]:
    """Return rate and channels of a ``fmt `` chunk."""
    if len(chunk) < 16:  # noqa: PLR2004 - bytes of the shortest one
        raise _unsuitable(path, "is a damaged WAV file with a short format chunk")
    tag, channels, rate, _bytes_per_second, frame_bytes, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and chunk[26:40] == _GUID_TAIL:
        tag = int.from_bytes(chunk[24:26], "little")
    fits = tag == _PCM and bits == _SAMPLE_BITS and rate in SAMPLE_RATES and channels in {1, 2}
    if not fits or frame_bytes != channels * bits // 8:
        kind = "PCM" if tag == _PCM else _FORMAT_NAMES.get(tag, f"format {tag:#x}")
        raise _unsuitable(
            path, f"is {bits}-bit {kind} at {rate} Hz with {channels} channel(s)", rate, channels
        )
    return rate, channels


def _unsuitable(path: Path, what: str, rate: int = 16000, channels: int = 1) -> AgentError:
    """Say what a file is, what is accepted, and the command that makes one of the other."""
    better = min((known for known in SAMPLE_RATES if known >= rate), default=SAMPLE_RATES[-1])
    target = path.with_name(f"{path.stem}-{better}.wav")
    command = f"ffmpeg -i {shlex.quote(str(path))} -ar {better} -ac {min(max(channels, 1), 2)} -c:a pcm_s16le"
    return AgentError(f"{path} {what}, and {_ACCEPTED}: convert it with {command} {shlex.quote(str(target))}")


def _reached(due: float, clock: RealTime, timeout: float) -> bool:
    """Wait for a moment, at most ``timeout`` seconds, and say whether it has come."""
    ahead = due - clock.monotonic()
    if ahead <= _TIMER_SLACK:
        return True
    clock.wait(min(ahead, timeout))
    return clock.monotonic() >= due - _TIMER_SLACK
