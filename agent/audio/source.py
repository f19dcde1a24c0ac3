"""What a source of sound looks like to the recorder: blocks of samples, or that there are none."""

from enum import StrEnum
from typing import NamedTuple, Protocol

from agent.errors import MicrophoneError


class SourceState(StrEnum):
    """What a source is doing; the value is what ``status --json`` shows as ``microphone.state``."""

    CLOSED = "closed"
    """Not wanted at the moment: nothing is open."""
    OPENING = "opening"
    """The device is being opened."""
    LISTENING = "listening"
    """Blocks flow."""
    LOST = "lost"
    """The device went away; it is tried again with backoff."""
    WEDGED = "wedged"
    """The device stopped giving frames without saying so; it is tried again with backoff."""
    WAITING = "waiting"
    """No such device at the moment; it is tried again with backoff."""
    ENDED = "ended"
    """A file has been read to its end."""


class Block(NamedTuple):
    """Consecutive samples of a source."""

    sequence: int
    """Counts from 0 with every opening of the device; a jump means that blocks were lost."""
    captured_at: float
    """Monotonic time, in seconds, at which the last sample of the block was in hand."""
    overflow: bool
    """True when PortAudio said that samples were lost before or within this block."""
    samples: bytes
    """Signed 16-bit little-endian PCM, channels interleaved."""


class SourceLost(MicrophoneError):  # noqa: N818 - the field's word for it
    """The source stopped giving samples; what was captured before is whole. ``str()`` says why."""


class EndOfSource(Exception):  # noqa: N818 - the regular end, as StopIteration is
    """A file has been read to its end."""


class Source(Protocol):
    """Something the recorder can read blocks from.

    ``read`` opens the device when needed. After ``SourceLost`` the next calls of ``read`` try to open it again
    (with backoff, returning None meanwhile); the caller only goes on reading.
    """

    @property
    def sample_rate(self) -> int:
        """Samples per second and channel."""

    @property
    def channels(self) -> int:
        """1 or 2."""

    @property
    def state(self) -> SourceState:
        """What the source is doing now; may be read from another thread."""

    @property
    def identity(self) -> str | None:
        """The stable id of the device in use (as in ``devices``), or None while unknown."""

    @property
    def name(self) -> str:
        """The device's name for a person."""

    @property
    def last_error(self) -> str:
        """Why nothing is heard, one sentence; empty while that is not known, or not so."""

    @property
    def has_more(self) -> bool:
        """Whether a block that was captured lies ready; a file says no, what is in it does not get lost."""

    def read(self, timeout: float) -> Block | None:
        """Return the next block, or None when there is none within ``timeout`` seconds.

        Raises:
            SourceLost: the device went away or hangs; raised once per loss.
            EndOfSource: a file is at its end.
        """

    def close(self) -> None:
        """Let go of the device at once; a later ``read`` opens it anew."""
