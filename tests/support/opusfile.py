"""Opus files made by our own encoder and pager, and the foreign programs that judge them."""

import subprocess
from pathlib import Path

from agent.audio.ogg import OggOpusWriter, OpusHead
from agent.audio.opus import GRANULE_RATE, OpusEncoder, libopus_version
from agent.config.schema import OpusConfig

SERIAL = 0x7EC0FFEE


DEFAULTS = OpusConfig()


def write_opus(
    path: Path,
    pcm: bytes,
    sample_rate: int,
    channels: int,
    settings: OpusConfig = DEFAULTS,
    tags: tuple[tuple[str, str], ...] = (("ENCODER", "test"),),
) -> list[bytes]:
    """Encode PCM into an Ogg Opus file and return its pages, as they were handed to ``write``."""
    encoder = OpusEncoder(settings, sample_rate, channels)
    pages: list[bytes] = []
    writer = OggOpusWriter(
        pages.append,
        OpusHead(channels, encoder.pre_skip, sample_rate),
        serial=SERIAL,
        vendor=libopus_version(),
        tags=tags,
    )
    writer.write_headers()
    per_sample = GRANULE_RATE // sample_rate
    samples = len(pcm) // channels // 2
    size = encoder.frame_bytes
    frames = encoder.frames_for(samples)
    padded = pcm.ljust(frames * size, b"\0")
    for start in range(0, frames * size, size):
        writer.packet(encoder.encode(padded[start : start + size]), encoder.frame_samples * per_sample)
    writer.finish(samples * per_sample)
    path.write_bytes(b"".join(pages))
    return pages


def complaints(path: Path) -> str:
    """Return what opusinfo finds wrong with a file: its warnings and errors, or its exit code."""
    run = subprocess.run(["opusinfo", path], capture_output=True, text=True, check=False)
    lines = [line for line in (run.stdout + run.stderr).splitlines() if "WARNING" in line or "ERROR" in line]
    return "\n".join(lines) or (f"exit {run.returncode}" if run.returncode else "")


def decode(path: Path, sample_rate: int) -> bytes:
    """Return 16-bit PCM as opusdec decodes a file; raises CalledProcessError."""
    command = ["opusdec", "--quiet", "--no-dither", "--rate", str(sample_rate), str(path), "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def probe_seconds(path: Path) -> float:
    """Return the duration that ffprobe sees, which counts the pre-skip in; raises CalledProcessError."""
    command = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return float(run.stdout)
