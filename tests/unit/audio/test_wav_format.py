"""What is read of WAV files as others write them, and what is said of those that are not."""

import struct
import subprocess
from pathlib import Path

import pytest
from speech import write_wav
from test_wav_file import PCM, RATE, read_all, sound

from agent.audio.wav_file import WavFile
from agent.audio.wav_format import read_wav_format
from agent.errors import AgentError

PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")
FULL = 1.0
SAMPLES = [0, 1, -1, 1000, -1000, 32767, -32768]


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    """Return a RIFF chunk, padded; ``size`` is what it claims instead of the truth."""
    return name + struct.pack("<I", len(body) if size is None else size) + body + bytes(len(body) % 2)


def fmt(
    tag: int = 1,
    channels: int = 1,
    rate: int = RATE,
    bits: int = 16,
    extra: bytes = b"",
    frame_bytes: int | None = None,
) -> bytes:
    """Return a format chunk; ``frame_bytes`` is what it claims as block align instead of the truth."""
    frame = channels * bits // 8 if frame_bytes is None else frame_bytes
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits) + extra)


def riff(*chunks: bytes) -> bytes:
    """Return a WAV file."""
    return chunk(b"RIFF", b"WAVE" + b"".join(chunks))


@pytest.mark.parametrize(
    ("content", "samples"),
    [
        (riff(chunk(b"LIST", b"odd"), fmt(), chunk(b"fact", bytes(4)), chunk(b"data", PCM)), len(PCM) // 2),
        (riff(fmt(extra=bytes(2)), chunk(b"data", PCM), chunk(b"LIST", b"behind")), len(PCM) // 2),
        (
            riff(fmt(0xFFFE, extra=struct.pack("<HHI", 22, 16, 4) + PCM_GUID), chunk(b"data", PCM)),
            len(PCM) // 2,
        ),
        (riff(fmt(), chunk(b"data", PCM, 0)), len(PCM) // 2),
        (riff(fmt(), chunk(b"data", PCM, 0xFFFFFFFF)), len(PCM) // 2),
        (riff(fmt(), chunk(b"data", PCM, 0x7FFFF000)), len(PCM) // 2),
        (riff(fmt(), chunk(b"data", PCM))[:-3], len(PCM) // 2 - 2),
        (riff(fmt(channels=2), chunk(b"data", PCM[:1002])), 250),
    ],
    ids=["chunks", "behind", "extensible", "size 0", "size -1", "sox pipe", "truncated", "half frame"],
)
def test_headers_as_they_are_found_in_the_wild(tmp_path: Path, content: bytes, samples: int) -> None:
    """Other chunks, the extensible format, sizes left open and cut files are all read, in whole frames."""
    path = tmp_path / "wild.wav"
    path.write_bytes(content)
    source = WavFile(path)
    assert source.total_samples == samples
    assert sound(read_all(source)) == PCM[: samples * 2 * source.channels]


def test_what_sox_writes_to_a_pipe_is_read(tmp_path: Path) -> None:
    """A file whose sizes sox could not fill in, because it wrote to a pipe, gives all its samples."""
    path = tmp_path / "piped.wav"
    plain = write_wav(tmp_path / "plain.wav", RATE, 1, PCM)
    piped = subprocess.run(["sox", "-q", plain, "-t", "wav", "-"], capture_output=True, check=True).stdout
    path.write_bytes(piped)
    assert sound(read_all(WavFile(path))) == PCM


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is no WAV file"),
        (b"fLaC" + bytes(100), "is a FLAC file"),
        (b"MThd" + bytes(100), "is no WAV file"),
        (riff(), "is a damaged WAV file without a format and samples"),
        (riff(chunk(b"data", PCM), fmt()), "is a damaged WAV file without a format and samples"),
        (
            riff(chunk(b"fmt ", bytes(8)), chunk(b"data", PCM)),
            "is a damaged WAV file with a short format chunk",
        ),
        (riff(fmt(rate=44100), chunk(b"data", PCM)), "is 16-bit PCM at 44100 Hz with 1 channel"),
        (b"RIFX" + riff(fmt())[4:], r"is a big-endian WAV file \(RIFX\)"),
        (b"FORM" + bytes(40), "is an AIFF file"),
        (riff(*[chunk(b"LIST", b"")] * 5000, fmt(), chunk(b"data", PCM)), "is a damaged WAV file"),
        (riff(fmt(bits=12), chunk(b"data", PCM)), "is 12-bit PCM, which is not read"),
        (riff(fmt(tag=3, bits=16), chunk(b"data", PCM)), "is 16-bit floating-point, which is not read"),
        (riff(fmt(tag=7, bits=8), chunk(b"data", PCM)), "is 8-bit mu-law, which is not read"),
        (
            riff(fmt(frame_bytes=0), chunk(b"data", PCM)),
            r"has a damaged header \(block align 0 instead of 2\)",
        ),
        (riff(fmt(channels=6), chunk(b"data", PCM)), r"is 16-bit PCM at 16000 Hz with 6 channel\(s\)"),
        (riff(fmt(channels=0), chunk(b"data", PCM)), r"is 16-bit PCM at 16000 Hz with 0 channel\(s\)"),
        (riff(fmt(tag=0x161), chunk(b"data", PCM)), "is 16-bit format 0x161"),
        (riff(fmt(0xFFFE, extra=bytes(24)), chunk(b"data", PCM)), "is 16-bit format 0xfffe"),
    ],
)
def test_anything_else_is_one_sentence_with_the_cure(tmp_path: Path, content: bytes, sentence: str) -> None:
    """What cannot be encoded is named: the file, what it is, what is accepted, and how to convert it."""
    path = tmp_path / "it's.wav"
    path.write_bytes(content)
    with pytest.raises(
        AgentError, match=rf"it's\.wav {sentence}.*8, 12, 16, 24 or 48 kHz.*; convert it with `ffmpeg"
    ):
        WavFile(path)


@pytest.mark.parametrize(
    ("tag", "bits", "data", "expected"),
    [
        (1, 8, bytes([0, 127, 128, 129, 255]), [-32768, -256, 0, 256, 32512]),
        (1, 24, b"".join((v << 8 | 0x7F).to_bytes(3, "little", signed=True) for v in SAMPLES), SAMPLES),
        (1, 32, b"".join((v << 16 | 0x7FFF).to_bytes(4, "little", signed=True) for v in SAMPLES), SAMPLES),
        (3, 32, struct.pack("<7f", *(v / 32768 for v in SAMPLES)), SAMPLES),
        (3, 64, struct.pack("<7d", *(v / 32768 for v in SAMPLES)), SAMPLES),
        (
            3,
            32,
            struct.pack("<6f", FULL, -FULL, 2.5, -1e30, float("inf"), float("nan")),
            [32767, -32768, 32767, -32768, 32767, 0],
        ),
    ],
    ids=["8", "24", "32", "float", "double", "beyond full scale"],
)
@pytest.mark.parametrize("magic", [b"RIFF", b"RF64", b"BW64"])
def test_other_sample_formats_are_read(
    tmp_path: Path, magic: bytes, tag: int, bits: int, data: bytes, expected: list[int]
) -> None:
    """8, 24 and 32 bits and floating point come out as 16 bits, in long files (RF64, BW64) too."""
    path = tmp_path / "a.wav"
    long_sizes = chunk(b"ds64", struct.pack("<QQQI", 0, len(data), len(expected), 0))
    chunks = [fmt(tag, bits=bits)]
    if magic == b"RIFF":
        chunks += [chunk(b"data", data)]
    else:
        chunks = [long_sizes, *chunks, chunk(b"data", data, 0xFFFFFFFF), chunk(b"LIST", b"behind it")]
    path.write_bytes(magic + riff(*chunks)[4:])
    source = WavFile(path, block_ms=10)
    assert source.total_samples == len(expected)
    assert list(struct.unpack(f"<{len(expected)}h", sound(read_all(source)))) == expected


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_what_ffmpeg_writes_is_read_as_ffmpeg_reads_it(tmp_path: Path, codec: str) -> None:
    """Speech in each sample format equals ffmpeg's own conversion to 16 bits, to the last bit but one."""
    plain = write_wav(tmp_path / "plain.wav", RATE, 2, PCM[: len(PCM) // 4 * 4])
    path, back = tmp_path / "other.wav", tmp_path / "back.wav"
    commands: list[list[str | Path]] = [
        ["ffmpeg", "-i", plain, "-c:a", codec, "-rf64", "always", path],
        ["ffmpeg", "-i", path, "-c:a", "pcm_s16le", back],
    ]
    for command in commands:
        subprocess.run(command, capture_output=True, check=True, stdin=subprocess.DEVNULL)
    ours, judge = (memoryview(sound(read_all(WavFile(each)))).cast("h") for each in (path, back))
    assert len(ours) == len(judge) == len(PCM) // 4 * 2
    assert max(abs(a - b) for a, b in zip(ours, judge, strict=True)) <= 1


def test_the_command_in_the_sentence_works(tmp_path: Path) -> None:
    """The conversion that an error proposes makes a file that is accepted."""
    path = tmp_path / "music & more.wav"
    path.write_bytes(riff(fmt(rate=44100, channels=2, bits=32), chunk(b"data", PCM[:32000])))
    with pytest.raises(AgentError) as caught:
        WavFile(path)
    command = str(caught.value).partition("convert it with ")[2]
    subprocess.run(["sh", "-c", command], capture_output=True, check=True, stdin=subprocess.DEVNULL)
    converted = read_wav_format(tmp_path / "music & more-48000.wav")
    assert (converted.sample_rate, converted.channels) == (48000, 2)
    assert converted.samples == pytest.approx(4000 * 48000 / 44100, abs=32)
