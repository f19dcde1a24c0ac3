"""What tests of the microphone share: speech, its comparison, and microphones that hear the virtual one."""

import os
import subprocess
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from virtual_microphone import VirtualMicrophone

from agent.audio.source import SourceLost
from agent.capture.microphone import Microphone
from agent.capture.process import CaptureSettings
from agent.clock import SystemClock
from agent.host.sound_cards import Card, SoundCards

SPEECH = Path("/usr/share/sounds/alsa/Front_Center.wav")
OTHER_SPEECH = Path("/usr/share/sounds/alsa/Rear_Left.wav")
CARD = Card(1, "Fake", "Fake USB Mic", ("usb-1:2-3",), "usb-1:2-3", 0, None, None)

Samples = npt.NDArray[np.int16]
Make = Callable[..., Microphone]


class FakeCards(SoundCards):
    """A machine with the given cards."""

    def __init__(self, *cards: Card) -> None:
        super().__init__()
        self.cards = list(cards)

    def present(self) -> list[Card]:
        """Return them."""
        return self.cards


@pytest.fixture
def make(virtual_microphone: VirtualMicrophone, tmp_path: Path) -> Iterator[Make]:
    """Make microphones that hear the virtual one, and close them after the test."""
    made: list[Microphone] = []

    def make_one(wanted: str = "default", rate: int = 48000, **options: Any) -> Microphone:
        defaults: dict[str, Any] = {"cards": FakeCards(), "clock": SystemClock()}
        own: dict[str, Any] = {"environment": virtual_microphone.env}
        own |= {name: options.pop(name) for name in ("environment", "python") if name in options}
        capture = CaptureSettings(rate, 1, "mix", tmp_path / "run", **own)
        made.append(Microphone(wanted, capture, **(defaults | options)))
        return made[-1]

    yield make_one
    for microphone in made:
        microphone.close()


@pytest.fixture(autouse=True)
def whole(virtual_microphone: VirtualMicrophone) -> Iterator[None]:
    """Bring the device back when a test broke it and failed half-way."""
    yield
    if not virtual_microphone.running:
        virtual_microphone.start()
    virtual_microphone.thaw()


def read_wav(path: Path) -> Samples:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")


def collect(microphone: Microphone, seconds: float) -> Samples:
    """Read so much sound, after what is there already."""
    end = time.monotonic() + seconds
    samples = bytearray()
    while (block := microphone.read(1)) is not None:
        samples += block.samples
        if block.captured_at > end:
            break
    return np.frombuffer(samples, dtype="<i2")


def correlate(heard: Samples, played: Samples) -> tuple[int, float]:
    """Return the shift at which a part of ``heard`` is most like ``played``, and their correlation."""
    size = 1 << (len(heard) + len(played)).bit_length()
    product = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(played, size))
    shift = int(np.argmax(np.fft.irfft(product, size)[: len(heard) - len(played) + 1]))
    return shift, float(np.corrcoef(heard[shift : shift + len(played)], played)[0, 1])


def part_like(heard: Samples, played: Samples) -> Samples:
    """Return the part of ``heard`` at which ``played`` is."""
    shift, _ = correlate(heard, played)
    return heard[shift : shift + len(played)]


def play(microphone: VirtualMicrophone, wav: Path, sink: str = "vmic") -> subprocess.Popen[bytes]:
    return subprocess.Popen(["paplay", "-d", sink, str(wav)], env=microphone.env)


def lose(microphone: Microphone, within: float) -> tuple[float, str]:
    """Read until the source is lost; return after how many seconds, and the reason."""
    start = time.monotonic()
    while time.monotonic() - start < within:
        try:
            microphone.read(0.1)
        except SourceLost as error:
            return time.monotonic() - start, str(error)
    pytest.fail(f"not lost within {within} s")


def state(microphone: Microphone) -> str:
    """Return the state as a text, which mypy does not narrow."""
    return microphone.state.value


def children() -> set[str]:
    """Return the pids of this process's children, zombies included."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def descriptors() -> int:
    """Return how many file descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def program(tmp_path: Path, script: str) -> str:
    """Return a program that takes the place of Python for a capture process."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)
