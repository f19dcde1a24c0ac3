"""Recorded human speech to test with, out of Debian's alsa-utils and asterisk-core-sounds-en-wav."""

import functools
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_ALSA = Path("/usr/share/sounds/alsa")
_ASTERISK = Path("/usr/share/asterisk/sounds")
_SECONDS = 60
_GAP_SECONDS = 0.25


def speech(sample_rate: int, channels: int, samples: int) -> bytes:
    """Return 16-bit little-endian PCM of ``samples`` per channel; the right channel says something else."""
    voice = _joined(sample_rate)
    tracks = [np.resize(np.roll(voice, -index * len(voice) // 2), samples) for index in range(channels)]
    return np.column_stack(tracks).astype("<i2").tobytes()


def write_wav(path: Path, sample_rate: int, channels: int, pcm: bytes) -> Path:
    """Write PCM as a plain WAV file and return its path."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(pcm)
    return path


@functools.cache
def _joined(sample_rate: int) -> NDArray[np.float64]:
    """Return a minute of speech with short pauses, mono, at a rate."""
    files = [path for path in sorted(_ALSA.glob("*.wav")) if path.name != "Noise.wav"]
    if not files:
        raise RuntimeError("no recorded speech here: apt-get install alsa-utils asterisk-core-sounds-en-wav")
    files += sorted(_ASTERISK.glob("en*/**/demo-*.wav"))
    clips: list[NDArray[np.float64]] = []
    for path in files:
        clips += [_clip(path, sample_rate), np.zeros(round(_GAP_SECONDS * sample_rate))]
        if sum(map(len, clips)) > _SECONDS * sample_rate:
            break
    return np.concatenate(clips)


def _clip(path: Path, sample_rate: int) -> NDArray[np.float64]:
    """Return the samples of a mono file, brought to a rate through its spectrum."""
    with wave.open(str(path), "rb") as file:
        own_rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)
    count = round(len(samples) * sample_rate / own_rate)
    spectrum = np.fft.rfft(samples)
    resized = np.zeros(count // 2 + 1, complex)
    shared = min(len(resized), len(spectrum))
    resized[:shared] = spectrum[:shared]
    return np.clip(np.fft.irfft(resized, count) * (count / len(samples)), -32768, 32767)
