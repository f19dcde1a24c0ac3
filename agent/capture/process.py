"""One capture process from its start to its end: the process, its pipe, and the messages in it."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.capture import protocol
from agent.capture.alsa_config import PCM, PLAIN_PCM, Channel, absolute, write_config
from agent.capture.pipe_buffer import PipeBuffer
from agent.errors import MicrophoneError
from agent.hints import typed
from agent.host.sound_cards import Card

BUFFER_SECONDS = 40.0
"""Of sound that waits in memory behind the pipe: so long may the parent sit in a write to a slow card."""
REAP_SECONDS = 1.0
"""How long a killed capture process may take to end; one stuck in the kernel is reaped later."""


class Message(NamedTuple):
    """One message of the capture process, as ``earprotocol`` describes it."""

    kind: int
    flags: int
    sequence: int
    stamp_ns: int
    payload: bytes


class Nonsense(Exception):  # noqa: N818 - says what was read
    """What came out of the pipe is no message."""


def capture_command(python: str, *arguments: str) -> list[str]:
    """Return the command line of a capture process that dies with the calling thread.

    With ``-P``, and started in ``/``, it has the code of the installation, and none of the folder somebody stands in.
    """
    return [python, "-P", "-m", "agent.capture.child", "--parent", str(os.getpid()), *arguments]


def capture_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the capture process's environment: no JACK server is started, and one malloc arena is enough."""
    own = {"MALLOC_ARENA_MAX": "1", **environment, "JACK_NO_START_SERVER": "1"}
    if "ALSA_CONFIG_PATH" in own:  # the capture process runs in another folder
        own["ALSA_CONFIG_PATH"] = absolute(own["ALSA_CONFIG_PATH"])
    return own


def run_once(python: str, environment: Mapping[str, str], *arguments: str, timeout: float) -> bytes:
    """Run a capture process to its end and return what it wrote.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it had to be killed.
    """
    return subprocess.run(
        capture_command(python, *arguments),
        env=capture_environment(environment),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=timeout,
        check=False,
    ).stdout


class CaptureProcess:
    """A running capture process; it belongs to the thread that made it, and dies when that thread ends (PDEATHSIG)."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        python: str = sys.executable,
        *,
        buffer_bytes: int = 0,
    ) -> None:
        """Start it; ``buffer_bytes`` of what it writes may wait in memory, behind the pipe.

        Raises:
            OSError: it cannot be started.
        """
        pipe, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(
                capture_command(python, *arguments),
                env=capture_environment(environment),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            os.close(pipe)
            raise
        finally:
            os.close(theirs)
        self._has_gathered = False
        self._wanted = protocol.HEADER.size
        """Bytes of the message that comes next, as far as they are known."""
        self._buffer = PipeBuffer(pipe, max(buffer_bytes, protocol.HEADER.size + protocol.LARGEST_PAYLOAD))

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the pipe was read to its end: no message will come any more."""
        return self._buffer.ended and not self.has_message()

    def receive(self) -> Message | None:
        """Return the next message, or None when the pipe is empty or at its end.

        Raises:
            Nonsense: what comes is no message; the capture process cannot be understood any more.
        """
        size = self._wanted = protocol.HEADER.size
        header = self._buffer.peek(size)
        if header is None:
            return None
        magic, kind, flags, length, sequence, stamp = protocol.HEADER.unpack(header)
        if magic != protocol.MAGIC or length > protocol.LARGEST_PAYLOAD:
            raise Nonsense(header)
        self._wanted = size + length
        whole = self._buffer.peek(self._wanted)
        if whole is None:
            return None
        self._buffer.drop(size + length)
        self._has_gathered = False
        return Message(kind, flags, sequence, stamp, whole[size:])

    def wait(self, seconds: float, gather: float = 0) -> bool:
        """Wait until a message can be read, or the end; return False when nothing came in time.

        For ``gather`` seconds after a message nobody looks, so that several can come meanwhile.
        """
        if gather and not self._has_gathered:
            self._has_gathered = True
            gather = min(gather, seconds)
            time.sleep(gather)
            seconds -= gather
        return self._buffer.wait(self._wanted, seconds)

    def kill(self) -> bool:
        """End it at once, frozen or not, and return whether it is gone; may be called again."""
        self._process.kill()
        self._buffer.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_SECONDS)
        return self.gone

    @property
    def gone(self) -> bool:
        """Whether the process has ended and was reaped; does so when it can."""
        return self._process.poll() is not None

    def has_message(self) -> bool:
        """Whether a message, or nonsense, lies in the buffer whole."""
        return self._buffer.peek(self._wanted) is not None


class CaptureTimes(NamedTuple):
    """How long a device may take, in seconds, and when one that failed is tried again."""

    opening: float = 5.0
    """To the first frame, from the start and anew from the moment at which the device is open."""
    silence: float = 1.5
    """From one frame to the next."""
    backoff: tuple[float, ...] = (0.5, 1, 2, 4, 5)
    """From start to start of an attempt, and the first of them at least from its end; the last one repeats."""


class CaptureSettings(msgspec.Struct, frozen=True):
    """How a capture process listens, whatever the device."""

    sample_rate: int
    channels: int
    channel: Channel
    runtime_directory: Path
    block_ms: int = 120
    environment: Mapping[str, str] | None = None
    """None: that of this process."""
    python: str = sys.executable

    def start(self, pcm: str, card: Card | None) -> CaptureProcess:
        """Start a capture process on a card with a configuration of its own, or without a card on a PCM as it is.

        Raises:
            MicrophoneError: the configuration cannot be written.
            OSError: the capture process cannot be started.
        """
        environment: Mapping[str, str] = os.environ if self.environment is None else self.environment
        pcms = [pcm]
        if card is not None:
            config = write_config(
                self.runtime_directory,
                card,
                channels=self.channels,
                channel=self.channel,
                environment=environment,
            )
            environment, pcms = {**environment, "ALSA_CONFIG_PATH": str(config)}, [PCM]
            if not isinstance(self.channel, int):  # another input than the wanted one is no second choice
                pcms.append(PLAIN_PCM)
        elif isinstance(self.channel, int):
            raise MicrophoneError(
                f"audio.channel picks an input of a sound card, and {pcm!r} is none",
                f"set audio.input to an id of {typed('devices')}",
            )
        rate, channels = str(self.sample_rate), str(self.channels)
        block = str(self.sample_rate * self.block_ms // 1000)
        options = ["--pcm", *pcms, "--rate", rate, "--channels", channels, "--block-samples", block]
        sound = int(BUFFER_SECONDS * self.sample_rate) * self.channels * 2
        return CaptureProcess(options, environment, self.python, buffer_bytes=sound)
