"""One ear from its start to its end: the process, its pipe, and the messages in it."""

import contextlib
import fcntl
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from agent.audio import earprotocol as protocol
from agent.audio.alsaconfig import PCM, PLAIN_PCM, Channel, write_config
from agent.host.soundcards import Card

PIPE_BYTES = 1 << 20
"""32 s of 16 kHz mono: so long may the parent sit in a write to a slow card."""
REAP_SECONDS = 1.0
"""How long a killed ear may take to end; one stuck in the kernel is reaped later."""
_READ_BYTES = 1 << 16


class Message(NamedTuple):
    """One message of the ear, as ``earprotocol`` describes it."""

    kind: int
    flags: int
    sequence: int
    stamp_ns: int
    payload: bytes


class Nonsense(Exception):  # noqa: N818 - says what was read
    """What came out of the pipe is no message."""


def ear_command(python: str, *arguments: str) -> list[str]:
    """Return the command line of an ear that dies with the calling thread."""
    return [python, "-m", "agent.audio.ear", "--parent", str(os.getpid()), *arguments]


def ear_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the ear's environment: no JACK server is started, and one malloc arena is enough."""
    return {"MALLOC_ARENA_MAX": "1", **environment, "JACK_NO_START_SERVER": "1"}


def run_once(python: str, environment: Mapping[str, str], *arguments: str, timeout: float) -> bytes:
    """Run an ear to its end and return what it wrote.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it had to be killed.
    """
    return subprocess.run(
        ear_command(python, *arguments),
        env=ear_environment(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=timeout,
        check=False,
    ).stdout


class EarProcess:
    """A running ear; it belongs to the thread that made it, and dies when that thread ends (PDEATHSIG)."""

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], python: str = sys.executable
    ) -> None:
        """Start it.

        Raises:
            OSError: it cannot be started.
        """
        self._pipe, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(
                ear_command(python, *arguments),
                env=ear_environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            os.close(self._pipe)
            raise
        finally:
            os.close(theirs)
        os.set_blocking(self._pipe, False)
        _widen(self._pipe)
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)
        self._buffer = bytearray()
        self._ended = False

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the pipe was read to its end: no message will come any more."""
        return self._ended

    def receive(self) -> Message | None:
        """Return the next message, or None when the pipe is empty or at its end.

        Raises:
            Nonsense: what comes is no message; the ear cannot be understood any more.
        """
        while True:
            message = self._take()
            if message is not None:
                return message
            try:
                data = os.read(self._pipe, _READ_BYTES)
            except BlockingIOError:
                return None
            if not data:
                self._ended = True
                return None
            self._buffer += data

    def wait(self, seconds: float) -> bool:
        """Wait until something can be read; return False when nothing came in time."""
        return bool(self._poll.poll(max(0, round(seconds * 1000))))

    def kill(self) -> bool:
        """End it at once, frozen or not, and return whether it is gone; may be called again."""
        self._process.kill()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_SECONDS)
        return self.gone

    @property
    def gone(self) -> bool:
        """Whether the process has ended and was reaped; does so when it can."""
        return self._process.poll() is not None

    def _take(self) -> Message | None:
        size = protocol.HEADER.size
        if len(self._buffer) < size:
            return None
        magic, kind, flags, length, sequence, stamp = protocol.HEADER.unpack_from(self._buffer)
        if magic != protocol.MAGIC or length > protocol.LARGEST_PAYLOAD:
            raise Nonsense(bytes(self._buffer[:size]))
        if len(self._buffer) < size + length:
            return None
        payload = bytes(self._buffer[size : size + length])
        del self._buffer[: size + length]
        return Message(kind, flags, sequence, stamp, payload)


@dataclass(frozen=True)
class EarSettings:
    """How an ear listens, whatever the device."""

    sample_rate: int
    channels: int
    channel: Channel
    block_ms: int
    runtime_directory: Path
    environment: Mapping[str, str]
    python: str

    def start(self, pcm: str, card: Card | None) -> EarProcess:
        """Start an ear on a card with a configuration of its own, or without a card on a PCM as it is.

        Raises:
            MicrophoneError: the configuration cannot be written.
            OSError: the ear cannot be started.
        """
        environment, pcms = self.environment, [pcm]
        if card is not None:
            config = write_config(
                self.runtime_directory,
                card,
                channels=self.channels,
                channel=self.channel,
                environment=environment,
            )
            environment, pcms = {**environment, "ALSA_CONFIG_PATH": str(config)}, [PCM, PLAIN_PCM]
        rate, channels = str(self.sample_rate), str(self.channels)
        block = str(self.sample_rate * self.block_ms // 1000)
        options = ["--pcm", *pcms, "--rate", rate, "--channels", channels, "--block-samples", block]
        return EarProcess(options, environment, self.python)


def _widen(pipe: int) -> None:
    """Give the pipe its size, or the largest that this user may have."""
    size = PIPE_BYTES
    while size > _READ_BYTES:
        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)
        except OSError:
            size //= 2
        else:
            return
