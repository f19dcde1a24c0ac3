"""A WAV file as a source of sound, as fast as it goes or at the pace of a microphone."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from agent.audio.source import Block, EndOfSource, SourceLost, SourceState
from agent.audio.wav_format import read_wav_format

FILE_PREFIX: Final = "file:"
"""How ``audio.input`` names a file instead of a device."""

_LOOP_SUFFIX: Final = "?loop"
_TIMER_SLACK: Final = 1e-6  # seconds; a wait may end a rounding error early


class RealTime(NamedTuple):
    """The clock that paces a file as a microphone would be."""

    monotonic: Callable[[], float]
    wait: Callable[[float], object]
    """Sleeps for so many seconds, or less when something happens."""


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
        self._block_bytes = self._format.sample_rate * block_ms // 1000 * self._format.frame_bytes
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
    def last_error(self) -> str:
        """A file that cannot be read is an error at once."""
        return ""

    @property
    def total_samples(self) -> int | None:
        """Samples per channel until the end; None when there is no end."""
        return None if self._loop else self._format.samples

    @property
    def has_more(self) -> bool:
        """No: what is in a file does not get lost."""
        return False

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
            raise SourceLost(
                f"{self._path} can no longer be read ({problem.strerror})", "check the disk that it lies on"
            ) from problem
        if not self._next:
            self.close()
            self._state = SourceState.ENDED
            raise EndOfSource
        samples_out = self._samples_out + len(self._next) // (2 * self.channels)
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
        self._left = self._format.samples * self._format.frame_bytes

    def _take(self) -> bytes:
        """Return the samples of the next block as 16-bit PCM; empty at the end."""
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
        return self._format.to_16_bit(taken[: len(taken) - len(taken) % self._format.frame_bytes])


def parse_file_input(text: str) -> tuple[Path, bool]:
    """Split ``file:PATH`` or ``file:PATH?loop`` into path and loop; raises ValueError for anything else."""
    path = text.removeprefix(FILE_PREFIX).removesuffix(_LOOP_SUFFIX)
    if not text.startswith(FILE_PREFIX) or not path:
        raise ValueError(f"{text!r} is not file:PATH or file:PATH?loop")
    return Path(path), text.endswith(_LOOP_SUFFIX)


def _reached(due: float, clock: RealTime, timeout: float) -> bool:
    """Wait for a moment, at most ``timeout`` seconds, and say whether it has come."""
    ahead = due - clock.monotonic()
    if ahead <= _TIMER_SLACK:
        return True
    clock.wait(min(ahead, timeout))
    return clock.monotonic() >= due - _TIMER_SLACK
