"""Many frames at once, as the recorder encodes a block."""

import pytest
from speech import speech

from agent.audio.opus import OpusEncoder
from agent.config.schema import OpusConfig

RATE = 16000


@pytest.mark.parametrize("frames", [0, 1, 3, 96])
def test_frames_at_once_give_the_packets_of_frames_one_by_one(frames: int) -> None:
    """A block of whole frames gives exactly the packets its frames give alone, whatever the block's length."""
    one_by_one, at_once = (OpusEncoder(OpusConfig(), RATE, 1) for _ in range(2))
    size = one_by_one.frame_bytes
    pcm = speech(RATE, 1, frames * one_by_one.frame_samples)
    expected = [one_by_one.encode(pcm[start : start + size]) for start in range(0, len(pcm), size)]
    assert at_once.encode_frames(pcm) == expected
    assert len(expected) == frames


@pytest.mark.parametrize("length", [1, 639, 641, 1279])
def test_a_torn_frame_is_refused(length: int) -> None:
    """A block that ends within a frame never reaches libopus, which would read beyond it."""
    with pytest.raises(ValueError, match="640 bytes each"):
        OpusEncoder(OpusConfig(), RATE, 1).encode_frames(bytes(length))
