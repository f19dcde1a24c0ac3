"""How many bytes the card is written for each byte of audio, on an ext4 of its own. Needs root and loop devices."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance import Machine, wait_for
from rig import say
from speech import speech, write_wav

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems")

RATE = 16_000
SECONDS = 60
AT_MOST = {5: 2.0}
"""Bytes for each byte of audio, by ``flush_seconds``: the aim holds at the default."""
SECTOR = 512


@contextlib.contextmanager
def ext4(folder: Path, name: str) -> Iterator[tuple[Path, Path]]:
    """Mount a fresh ext4; yield the folder and its device's statistics."""
    image, mount = folder / f"{name}.img", folder / name
    mount.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(256 << 20)
    lazy = "lazy_itable_init=0,lazy_journal_init=0"
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", lazy, image], check=True)
    subprocess.run(["mount", "-o", "loop,noatime", image, mount], check=True)
    try:
        source = subprocess.run(
            ["findmnt", "-n", "-o", "SOURCE", mount], check=True, capture_output=True, text=True
        ).stdout.strip()
        yield mount, Path("/sys/block") / Path(source).name / "stat"
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def written(stat: Path, mount: Path) -> int:
    """Return the bytes that the device was written so far, with nothing left in memory."""
    subprocess.run(["sync", "-f", mount], check=True)
    return int(stat.read_text().split()[6]) * SECTOR


def audio_bytes(machine: Machine) -> int:
    """Return how much audio is there."""
    folders = (machine.state / "recording", machine.state / "outbox")
    return sum(path.stat().st_size for folder in folders for path in folder.glob("*.opus*"))


def test_bytes_written_for_each_byte_of_audio(tmp_path: Path) -> None:
    """A minute with ``flush_seconds`` 1, 5 and 30 at once; 1 s is the control that shows what flushes cost."""
    wav = write_wav(tmp_path / "loop.wav", RATE, 1, speech(RATE, 1, 30 * RATE))
    with contextlib.ExitStack() as stack:
        running = []
        for flush in (1, 5, 30):
            mount, stat = stack.enter_context(ext4(tmp_path, f"flush-{flush}"))
            machine = Machine(tmp_path / f"machine-{flush}")
            machine.state = mount / "state"
            machine.configure(
                audio={"input": f"file:{wav}?loop"},
                recording={"mode": "continuous"},
                storage={"directory": str(machine.state), "flush_seconds": flush},
            )
            machine.configure(storage={"min_free_mb": 10})
            stack.enter_context(machine.daemon())
            wait_for(lambda machine=machine: audio_bytes(machine) > 0)  # type: ignore[misc]
            running.append((flush, machine, mount, stat))
        time.sleep(10)
        before = {flush: (written(stat, mount), audio_bytes(m)) for flush, m, mount, stat in running}
        time.sleep(SECONDS)
        factors = {}
        for flush, machine, mount, stat in running:
            device, audio = written(stat, mount) - before[flush][0], audio_bytes(machine) - before[flush][1]
            factors[flush] = device / audio
            say(f"flush_seconds {flush}: {device} bytes for {audio} of audio, {factors[flush]:.2f} each")

    assert all(factors[flush] <= most for flush, most in AT_MOST.items())
    assert factors[1] > max(AT_MOST.values())  # the control: what more flushes cost is seen
