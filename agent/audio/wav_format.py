"""The header of a WAV file, and its samples as the encoder wants them: 16-bit, little-endian.

Read are RIFF, RF64 and BW64 (EBU Tech 3306, ITU-R BS.2088) with integer samples of 8, 16, 24 or 32 bits or floating
point of 32 or 64, also as WAVE_FORMAT_EXTENSIBLE, at the rates that Opus takes, in mono or stereo.
"""

import struct
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from agent.audio.opus import SAMPLE_RATES
from agent.errors import AgentError

ACCEPTED: Final = "a WAV file at 8, 12, 16, 24 or 48 kHz in mono or stereo is needed"
_PCM: Final = 1
_FLOAT: Final = 3
_EXTENSIBLE: Final = 0xFFFE
_FORMAT_BYTES: Final = 40  # of the longest format chunk, the extensible one
_SHORTEST_FORMAT_BYTES: Final = 16
_FORMAT_NAMES: Final = {
    _PCM: "PCM",
    2: "ADPCM",
    _FLOAT: "floating-point",
    6: "A-law",
    7: "mu-law",
    0x11: "ADPCM",
    0x31: "GSM",
    0x55: "MP3",
}
_GUID_TAIL: Final = bytes.fromhex(
    "000000001000800000aa00389b71"
)  # of the subformats that are plain format tags
_OPEN_SIZE: Final = 0xFFFFFFFF  # what a writer to a pipe leaves, and RF64 where the true size is in "ds64"
_MOST_CHUNKS: Final = 1000  # a real file has a handful; a crafted one could have one for every eight bytes
_OTHER_KINDS: Final = {
    b"RIFX": "is a big-endian WAV file (RIFX)",
    b"riff": "is a Sony Wave64 file",
    b"FORM": "is an AIFF file",
    b"fLaC": "is a FLAC file",
    b"OggS": "is an Ogg file",
}
_FLIP_SIGN: Final = bytes(value ^ 0x80 for value in range(256))


class WavFormat(NamedTuple):
    """Where the samples of a file are, and what they are."""

    sample_rate: int
    channels: int
    offset: int
    samples: int
    """Per channel."""
    sample_bytes: int = 2
    """Of one channel's sample in the file."""
    is_float: bool = False

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels, in the file."""
        return self.channels * self.sample_bytes

    def to_16_bit(self, data: bytes) -> bytes:
        """Return whole samples of the file as 16-bit PCM.

        Lower bits are cut off, floating point is rounded; what is beyond full scale is clipped, what is no number is 0.
        """
        return _CONVERTERS[self.is_float, self.sample_bytes](data)


def read_wav_format(path: Path) -> WavFormat:
    """Read the header of a WAV file.

    Data that is shorter than its header says counts as far as it goes, in whole frames; a size that a writer
    to a pipe left open means up to the end of the file.

    Raises:
        AgentError: it cannot be read, is something else, or holds no samples.
    """
    try:
        if not path.is_file():
            raise AgentError(f"{path} is not a file", "name an existing WAV file")
        with path.open("rb") as file:
            return _parse(file, path, path.stat().st_size)
    except OSError as problem:
        raise AgentError(
            f"{path} cannot be read ({problem.strerror})", "name a WAV file that can be read"
        ) from problem


class _Samples(NamedTuple):
    """What a format chunk says."""

    rate: int
    channels: int
    sample_bytes: int
    is_float: bool


def _parse(file: BinaryIO, path: Path, file_size: int) -> WavFormat:
    magic, _size, kind = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
    if magic not in {b"RIFF", b"RF64", b"BW64"} or kind != b"WAVE":
        raise _unsuitable(path, _OTHER_KINDS.get(magic, "is no WAV file"))
    samples: _Samples | None = None
    long_size: int | None = None
    for _ in range(_MOST_CHUNKS):
        header = file.read(8)
        if len(header) < 8:  # noqa: PLR2004 - a chunk's name and size
            break
        name, size = struct.unpack("<4sI", header)
        body = file.tell()
        if name == b"data" and samples is not None:
            return _located(samples, path, body, _data_size(size, long_size, file_size - body))
        if name == b"ds64" and magic != b"RIFF":
            long_size = int.from_bytes(file.read(min(size, 16))[8:], "little")
        elif name == b"fmt ":
            samples = _parse_format(file.read(min(size, _FORMAT_BYTES)), path)
        file.seek(body + size + size % 2)  # chunks are padded to even sizes
    raise _unsuitable(path, "is a damaged WAV file without a format and samples")


def _data_size(size: int, long_size: int | None, available: int) -> int:
    if size == _OPEN_SIZE and long_size:
        size = long_size
    elif size in {0, _OPEN_SIZE}:
        size = available
    return min(size, available)


def _located(samples: _Samples, path: Path, offset: int, size: int) -> WavFormat:
    count = size // (samples.channels * samples.sample_bytes)
    if count == 0:
        raise AgentError(f"{path} holds no samples", "name a WAV file with sound in it")
    return WavFormat(
        samples.rate, samples.channels, offset, count, samples.sample_bytes, is_float=samples.is_float
    )


def _parse_format(chunk: bytes, path: Path) -> _Samples:
    if len(chunk) < _SHORTEST_FORMAT_BYTES:
        raise _unsuitable(path, "is a damaged WAV file with a short format chunk")
    tag, channels, rate, _bytes_per_second, frame_bytes, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and chunk[26:40] == _GUID_TAIL:
        tag = int.from_bytes(chunk[24:26], "little")
    kind = _FORMAT_NAMES.get(tag, f"format {tag:#x}")
    if (tag == _FLOAT, bits // 8) not in _CONVERTERS or bits % 8 or tag not in {_PCM, _FLOAT}:
        raise _unsuitable(path, f"is {bits}-bit {kind}, which is not read", rate, channels)
    if rate not in SAMPLE_RATES or channels not in {1, 2}:
        raise _unsuitable(
            path, f"is {bits}-bit {kind} at {rate} Hz with {channels} channel(s)", rate, channels
        )
    if frame_bytes != channels * bits // 8:
        raise _unsuitable(
            path,
            f"has a damaged header (block align {frame_bytes} instead of {channels * bits // 8})",
            rate,
            channels,
        )
    return _Samples(rate, channels, bits // 8, tag == _FLOAT)


def _unsuitable(path: Path, what: str, rate: int = 16000, channels: int = 1) -> AgentError:
    """Say what a file is, what is accepted, and the command that makes one of the other."""
    better = min((known for known in SAMPLE_RATES if known >= rate), default=SAMPLE_RATES[-1])
    target = path.with_name(f"{path.stem}-{better}.wav")
    import shlex  # noqa: PLC0415 - for an error only

    command = f"ffmpeg -i {shlex.quote(str(path))} -ar {better} -ac {min(max(channels, 1), 2)} -c:a pcm_s16le"
    from shutil import which  # noqa: PLC0415 - likewise

    bring = "" if which("ffmpeg") else ", which `sudo apt-get install ffmpeg` brings"
    return AgentError(
        f"{path} {what}, and {ACCEPTED}", f"convert it with `{command} {shlex.quote(str(target))}`{bring}"
    )


def _as_is(data: bytes) -> bytes:
    return data


def _from_8_bit(data: bytes) -> bytes:
    """Unsigned, with silence at 128."""
    out = bytearray(2 * len(data))
    out[1::2] = data.translate(_FLIP_SIGN)
    return bytes(out)


def _upper_bytes(width: int) -> Callable[[bytes], bytes]:
    def convert(data: bytes) -> bytes:
        out = bytearray(len(data) // width * 2)
        out[0::2] = data[width - 2 :: width]
        out[1::2] = data[width - 1 :: width]
        return bytes(out)

    return convert


def _from_float(code: str) -> Callable[[bytes], bytes]:
    def convert(data: bytes) -> bytes:
        values = array(code, data)
        samples = array("h", [_to_sample(value) for value in values])
        if sys.byteorder == "big":
            samples.byteswap()
        return samples.tobytes()

    return convert


def _to_sample(value: float) -> int:
    scaled = value * 32768.0
    if -32768.0 <= scaled <= 32767.0:  # noqa: PLR2004 - the range of 16 bits
        return round(scaled)
    return 32767 if scaled > 0 else -32768 if scaled < 0 else 0  # neither: it is no number


_CONVERTERS: Final[dict[tuple[bool, int], Callable[[bytes], bytes]]] = {
    (False, 1): _from_8_bit,
    (False, 2): _as_is,
    (False, 3): _upper_bytes(3),
    (False, 4): _upper_bytes(4),
    (True, 4): _from_float("f"),
    (True, 8): _from_float("d"),
}
