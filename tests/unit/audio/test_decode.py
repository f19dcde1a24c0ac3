"""A recording as a WAV: what a decoder of another make hears of it, to the sample."""

import io
import random
import wave
from pathlib import Path

import numpy as np
import pytest
from opusfile import DEFAULTS, decode, write_opus
from speech import speech

from agent.audio.decode import wav_of
from agent.audio.ogg import NotOggOpus
from agent.config.schema import OpusConfig


@pytest.mark.parametrize(
    ("rate", "channels", "settings"),
    [
        (16_000, 1, DEFAULTS),
        (48_000, 2, DEFAULTS),
        (8_000, 1, OpusConfig(frame_ms=60)),
        (16_000, 1, OpusConfig(dtx=True)),
        (48_000, 2, OpusConfig(bitrate_kbps=600, frame_ms=60)),
    ],
)
def test_it_is_what_opusdec_gives(tmp_path: Path, rate: int, channels: int, settings: OpusConfig) -> None:
    """Rate, channels, length and sound, also where a packet goes over pages."""
    path = tmp_path / "a.opus"
    samples = rate * 2 + random.randrange(rate)
    write_opus(path, speech(rate, channels, samples), rate, channels, settings)
    with wave.open(io.BytesIO(wav_of(path))) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (48_000, channels, 2)
        assert wav.getnframes() == samples * 48_000 // rate
        heard = np.frombuffer(wav.readframes(wav.getnframes()), "<i2").astype(int)
    others = np.frombuffer(decode(path, 48_000), "<i2").astype(int)
    assert len(heard) == len(others)
    assert np.abs(heard - others).max() <= 2  # opusdec decodes to floating point, and rounds


def test_what_is_none_is_said(tmp_path: Path) -> None:
    """One sentence."""
    path = tmp_path / "a.opus"
    path.write_bytes(b"RIFF" * 100)
    with pytest.raises(NotOggOpus, match="no Ogg Opus"):
        wav_of(path)
