"""Two equal USB microphones swap their numbers and ALSA ids: not one sample of the wrong one is recorded."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from acceptance import Machine, wait_for
from rig import at_the_microphone, sabotage
from timecode import HEARD_RATE, Samples, decoded
from virtual_microphone import VirtualMicrophone, virtual_microphone

__all__ = ["virtual_microphone"]

NAMES = ("Device", "Device_1")
"""ALSA's ids of two equal cards, in the order of plugging."""
WANTED, OTHER = "A", "B"
TONES = {WANTED: 440.0, OTHER: 1100.0}
RATE = 48_000
ROOTS = """
import re
from pathlib import Path
from agent.host.sound_cards import SoundCards
SoundCards.__init__.__defaults__ = (Path({sysfs!r}), Path({proc!r}))
import agent.capture.alsa_config as config
card_id = lambda pcm: re.search('CARD=([^,]+)|card "([^"]+)"', pcm).group(1, 2)
config._capture = lambda name, pcm, *_: (
    f'pcm.{{name}} {{{{ type pulse device "mic_{{"".join(filter(None, card_id(pcm)))}}" }}}}'
)
"""
"""The fake sysfs, and PulseAudio's sources in the place of ``hw:CARD=<id>``."""


class Bus:
    """A fake sysfs with two cards, and the sound that each of them hears."""

    def __init__(self, folder: Path, microphone: VirtualMicrophone) -> None:
        self.sysfs = folder / "sys"
        self.proc = folder / "proc"
        self._microphone = microphone
        self._players: list[tuple[subprocess.Popen[bytes], threading.Thread]] = []

    def plug(self, first: str, second: str) -> None:
        """Let the cards be there in this order."""
        subprocess.run(["rm", "-rf", self.sysfs], check=True)
        for number, (serial, name) in enumerate(zip((first, second), NAMES, strict=True)):
            usb = self.sysfs / f"devices/usb1/1-{number}"
            interface = usb / f"1-{number}:1.0"
            interface.mkdir(parents=True)
            for key, value in (("idVendor", "0d8c"), ("idProduct", "0014"), ("serial", serial)):
                (usb / key).write_text(f"{value}\n")
            card = self.sysfs / f"class/sound/card{number}"
            (card / f"pcmC{number}D0c").mkdir(parents=True)
            (card / "id").write_text(f"{name}\n")
            (card / "device").symlink_to(interface)
            facts = self.proc / f"asound/card{number}"
            facts.mkdir(parents=True, exist_ok=True)
            (facts / "stream0").write_text("A card\n\nCapture:\n    Channels: 1\n    Rates: 48000\n")
        self._sound(dict(zip(NAMES, (first, second), strict=True)))

    def unplug(self) -> None:
        """Let both be gone, and with them the sound."""
        self._microphone.kill()
        for player, writer in self._players:
            player.kill()
            player.wait()
            writer.join()
            assert player.stdin is not None
            with contextlib.suppress(OSError):
                player.stdin.close()
        self._players.clear()
        subprocess.run(["rm", "-rf", self.sysfs], check=True)
        (self.sysfs / "class/sound").mkdir(parents=True)

    def _sound(self, cards: dict[str, str]) -> None:
        if not self._microphone.running:
            self._microphone.start()
        for name, serial in cards.items():
            sink = f"sink_{name}"
            self._microphone.pactl(
                "load-module", "module-null-sink", f"sink_name={sink}", f"rate={RATE}", "channels=1"
            )
            self._microphone.pactl(
                "load-module",
                "module-remap-source",
                f"source_name=mic_{name}",
                f"master={sink}.monitor",
                "channels=1",
            )
            command = ["pacat", "--raw", f"--rate={RATE}", "--channels=1", "--latency-msec=50", "-d", sink]
            player = subprocess.Popen(
                command, env=self._microphone.env, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            tone = np.sin(2 * np.pi * TONES[serial] * np.arange(RATE * 60) / RATE) * 9000
            self._players.append((player, feed(player, tone.astype("<i2").tobytes())))


def feed(player: subprocess.Popen[bytes], sound: bytes) -> threading.Thread:
    """Write to a player without waiting for it."""

    def write() -> None:
        assert player.stdin is not None
        with contextlib.suppress(OSError):
            player.stdin.write(sound)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    return writer


@pytest.fixture
def bus(tmp_path: Path, virtual_microphone: VirtualMicrophone) -> Iterator[Bus]:
    bus = Bus(tmp_path, virtual_microphone)
    yield bus
    bus.unplug()
    virtual_microphone.start()


def heard_of(samples: Samples) -> set[str]:
    """Return which microphones are heard, in any tenth of a second."""
    size = HEARD_RATE // 10
    found = set()
    for start in range(0, len(samples) - size, size):
        part = samples[start : start + size].astype(float)
        spectrum = np.abs(np.fft.rfft(part * np.hanning(size)))
        if spectrum.max() > 10_000:
            frequency = float(np.argmax(spectrum)) * HEARD_RATE / size
            found.add(min(TONES, key=lambda serial: abs(TONES[serial] - frequency)))
    return found


def record_over_a_swap(
    tmp_path: Path, bus: Bus, microphone: VirtualMicrophone, wanted: str
) -> list[set[str]]:
    """Record the wanted input before and after a swap; return who is heard in each file."""
    machine = at_the_microphone(tmp_path / "m", microphone)
    machine.configure(audio={"input": wanted})
    sabotage(machine, ROOTS.format(sysfs=str(bus.sysfs), proc=str(bus.proc)))
    bus.plug(WANTED, OTHER)
    with machine.daemon() as daemon:
        wait_for(lambda: is_recording(machine, daemon.status()["recording"]))
        time.sleep(4)
        bus.unplug()
        wait_for(lambda: daemon.status()["pending"] == 1)
        bus.plug(OTHER, WANTED)
        wait_for(lambda: is_recording(machine, daemon.status()["recording"]))
        time.sleep(4)
        assert daemon.stop() == 0
    return [heard_of(decoded(Path(row["path"]))) for row in machine.queue()]


def is_recording(machine: Machine, now: dict[str, int] | None) -> bool:
    del machine
    return now is not None and now["duration_ms"] > 0


def test_the_same_microphone_is_recorded_under_another_number(
    tmp_path: Path, bus: Bus, virtual_microphone: VirtualMicrophone
) -> None:
    """By its stable id only the wanted one is ever heard, whichever number and ALSA id it has."""
    files = record_over_a_swap(tmp_path, bus, virtual_microphone, f"usb-0d8c:0014-{WANTED}")

    assert files == [{WANTED}, {WANTED}]


def test_the_sound_tells_them_apart(tmp_path: Path, bus: Bus, virtual_microphone: VirtualMicrophone) -> None:
    """A control: by ALSA's id, which the other one takes over, the wrong one is heard after the swap."""
    files = record_over_a_swap(tmp_path, bus, virtual_microphone, NAMES[0])

    assert files == [{WANTED}, {OTHER}]
