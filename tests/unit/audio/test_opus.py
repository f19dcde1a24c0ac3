"""The encoder, judged by opusinfo, opusdec and ffprobe."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opusfile import complaints, decode, probe_seconds, write_opus
from speech import speech

from agent.audio.opus import SAMPLE_RATES, OpusEncoder, libopus_version
from agent.config.schema import OpusConfig
from agent.errors import AgentError

RATE = 16000


def encoded(encoder: OpusEncoder, pcm: bytes) -> list[bytes]:
    """Return the packets of all whole frames in PCM."""
    size = encoder.frame_bytes
    return [encoder.encode(pcm[start : start + size]) for start in range(0, len(pcm) - size + 1, size)]


@pytest.mark.parametrize("length", ["half a second", "whole frames", "one sample more"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_speech_comes_back_to_the_sample(tmp_path: Path, rate: int, channels: int, length: str) -> None:
    """Exactly as many samples as went in come out of opusdec, and no judge complains."""
    whole = rate // 50 * 60
    samples = {"half a second": rate // 2, "whole frames": whole, "one sample more": whole + 1}[length]
    pcm = speech(rate, channels, samples)
    path = tmp_path / "speech.opus"
    write_opus(path, pcm, rate, channels)

    assert complaints(path) == ""
    assert len(decode(path, rate)) == len(pcm)
    assert abs(probe_seconds(path) - samples / rate - 312 / 48000) < 1e-4
    assert len(decode(path, 48000)) == len(pcm) * 48000 // rate


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_speech_is_in_its_place(tmp_path: Path, rate: int, channels: int) -> None:
    """The pre-skip is right: what is heard fits what was said best without any shift, in each channel.

    With voip libopus filters rumble out, which moves low tones by a tenth of a millisecond; so not with voip.
    """
    pcm = speech(rate, channels, rate)
    path = tmp_path / "speech.opus"
    write_opus(path, pcm, rate, channels, OpusConfig(application="audio", bitrate_kbps=64))
    said, heard = (
        np.frombuffer(sound, "<i2").astype(float).reshape(-1, channels) for sound in (pcm, decode(path, rate))
    )
    for channel in range(channels):
        fit = {
            shift: np.corrcoef(said[9:-9, channel], np.roll(heard[:, channel], shift)[9:-9])[0, 1]
            for shift in range(-8, 9)
        }
        assert max(fit, key=lambda shift: fit[shift]) == 0
        assert fit[0] > 0.95


@pytest.mark.parametrize("application", ["voip", "audio", "lowdelay"])
@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
def test_every_frame_length_and_application_makes_a_clean_file(
    tmp_path: Path, frame_ms: Any, application: Any
) -> None:
    """All that [opus] can ask for gives a file that is whole and as long as the input."""
    pcm = speech(RATE, 1, RATE + 7)
    path = tmp_path / "speech.opus"
    write_opus(path, pcm, RATE, 1, OpusConfig(frame_ms=frame_ms, application=application, dtx=True))
    assert complaints(path) == ""
    assert len(decode(path, RATE)) == len(pcm)


@pytest.mark.parametrize("kbps", [8, 32, 64, 320])
def test_bitrate_is_what_was_asked_for(kbps: int) -> None:
    """Packets of speech come near the target; more than libopus can carry is taken as its limit."""
    encoder = OpusEncoder(OpusConfig(bitrate_kbps=kbps, application="audio"), 48000, 1)
    size = sum(map(len, encoded(encoder, speech(48000, 1, 480000))))
    assert 0.6 < size * 8 / 10 / (min(kbps, 300) * 1000) < 1.4


def test_dtx_shrinks_silence_and_only_when_asked_for() -> None:
    """With dtx silence becomes packets of one or two bytes, the setting that opuslib itself ignores."""
    silence = bytes(RATE * 2 * 2)
    with_dtx = encoded(OpusEncoder(OpusConfig(dtx=True), RATE, 1), silence)
    without = encoded(OpusEncoder(OpusConfig(dtx=False), RATE, 1), silence)
    assert sum(len(packet) <= 2 for packet in with_dtx) > len(with_dtx) // 2
    assert all(len(packet) > 2 for packet in without[10:])


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_gives_the_same_packets(kind: type[Any]) -> None:
    """bytes, bytearray and memoryview of the same sound give the same packets."""
    pcm = speech(RATE, 2, RATE)
    expected = encoded(OpusEncoder(OpusConfig(), RATE, 2), pcm)
    encoder = OpusEncoder(OpusConfig(), RATE, 2)
    size = encoder.frame_bytes
    assert [encoder.encode(kind(pcm[at : at + size])) for at in range(0, len(pcm), size)] == expected


def test_reset_starts_a_stream_anew_and_keeps_the_settings() -> None:
    """After a reset the encoder gives what a new one would, so one serves all segments."""
    settings = OpusConfig(bitrate_kbps=24, complexity=3, dtx=True)
    pcm = speech(RATE, 1, RATE)
    encoder = OpusEncoder(settings, RATE, 1)
    first = encoded(encoder, pcm)
    assert encoded(encoder, pcm) != first
    encoder.reset()
    assert encoded(encoder, pcm) == first


@pytest.mark.parametrize("length", [0, 638, 639, 641, 1280])
def test_wrong_length_is_refused(length: int) -> None:
    """A buffer that is not exactly one frame never reaches libopus, which would read beyond it."""
    encoder = OpusEncoder(OpusConfig(), RATE, 1)
    assert encoder.frame_bytes == 640
    with pytest.raises(ValueError, match="a frame has 640 bytes"):
        encoder.encode(bytes(length))


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 1), (1, 1), (216, 1), (217, 2), (16000, 51), (319 * 320, 320)]
)
def test_frames_for_covers_the_look_ahead(samples: int, frames: int) -> None:
    """The look-ahead of 104 samples at 16 kHz asks for one more frame when the last has no room for it."""
    assert OpusEncoder(OpusConfig(), RATE, 1).frames_for(samples) == frames


@pytest.mark.parametrize("name", ["bitrate", "complexity", "dtx", "application"])
def test_a_setting_that_does_not_stick_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Each setting is read back, and one that libopus did not take is named."""
    libopus_version()  # loads opuslib
    monkeypatch.setattr(f"opuslib.api.ctl.get_{name}", lambda *_: -7)
    with pytest.raises(AgentError, match=rf"asked for {name} \d+ and kept -7"):
        OpusEncoder(OpusConfig(), RATE, 1)


def test_a_rate_that_opus_does_not_know_is_one_sentence() -> None:
    """What libopus refuses comes as a sentence with its own words in it."""
    with pytest.raises(AgentError, match=r"libopus refused to encode \(invalid argument\); check"):
        OpusEncoder(OpusConfig(), 44100, 1)


def test_version_names_the_library() -> None:
    """The vendor string of our files begins with libopus and its version."""
    assert libopus_version().startswith("libopus 1.")


def test_loading_is_quiet_where_opuslib_was_never_compiled(tmp_path: Path) -> None:
    """Python's warnings about opuslib's code do not reach the log."""
    program = "from agent.audio.opus import libopus_version; print(libopus_version())"
    command = [sys.executable, "-W", "always", "-X", f"pycache_prefix={tmp_path}", "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == (libopus_version() + "\n", "")


def test_without_libopus_only_encoding_fails() -> None:
    """The module can be imported without libopus; asking for an encoder says what to install."""
    program = """
import ctypes.util
ctypes.util.find_library = lambda name: None
from agent.audio.opus import libopus_version
try:
    libopus_version()
except Exception as problem:
    print(type(problem).__name__, problem)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("AgentError libopus is missing")
    assert run.stdout.rstrip().endswith("`sudo apt-get install libopus0` brings it")
