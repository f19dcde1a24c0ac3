"""A microphone that gives the code of the time and nothing else: a pipe that PulseAudio reads, fed by its own process.

Nothing is mixed, resampled or played: what is written comes out to the sample, and a feeder that was late catches up.
A player into a null sink leaves holes where a busy machine keeps it waiting, and they look like samples that were lost.
"""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from timecode import RATE, SLOT_SECONDS, slot
from virtual_microphone import VirtualMicrophone

NAME = "code"
PIECE_SECONDS = 0.02
MOST_LATE = 1.0
"""Seconds: behind it the recorder may take the source for wedged, and be right."""
NICE = -15
"""The source is no program of this machine: a real card is never kept waiting by one."""


class CodeSource:
    """As long as it is entered it is the default source of the virtual microphone's PulseAudio."""

    def __init__(self, microphone: VirtualMicrophone, folder: Path) -> None:
        self._microphone = microphone
        self._pipe = folder / "code.pcm"
        self._said = folder / "code.late"
        self._module = ""
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        options = (f"source_name={NAME}", f"file={self._pipe}", "format=s16le", f"rate={RATE}", "channels=1")
        self._module = self._microphone.pactl("load-module", "module-pipe-source", *options)
        self._microphone.pactl("set-default-source", NAME)
        if self._microphone.pid is not None:
            _prefer(self._microphone.pid)
        # A source that nobody hears is not read: what lies in its pipe would be heard late.
        listener = ["parec", "--raw", "-d", NAME, "--latency-msec=500"]
        feeder = [sys.executable, __file__, str(self._pipe), str(self._said)]
        environment = self._microphone.env | {"PYTHONPATH": os.pathsep.join(sys.path)}
        for command in (listener, feeder):
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
            self._processes.append(process)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._microphone.pactl("set-default-source", "mic")
        self._microphone.pactl("unload-module", self._module)

    @property
    def most_late(self) -> float:
        """By how many seconds the code was late at most, until now."""
        return float(self._said.read_text()) if self._said.exists() else 0.0

    def check(self) -> None:
        """Fail where the source itself was too late for anything to be told of the recorder."""
        assert self.most_late < MOST_LATE, (
            f"the source itself was {self.most_late:.1f} s late: this run tells nothing, the machine has no time for it"
        )


def _prefer(pid: int) -> None:
    """Let all threads of a process have the processor first, where that is allowed."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, int(task.name), NICE)


def feed(pipe: Path, said: Path) -> None:
    """Write slot after slot at the pace of the clock, and into ``said`` by how much the latest piece was late."""
    _prefer(os.getpid())
    descriptor = os.open(pipe, os.O_WRONLY)
    size = round(PIECE_SECONDS * RATE) * 2
    began, written, most = time.monotonic(), 0, 0.0
    number = 0
    while True:
        sound = slot(number % (1 << 16)).tobytes()
        for at in range(0, round(SLOT_SECONDS * RATE) * 2, size):
            time.sleep(max(0.0, began + written * PIECE_SECONDS - time.monotonic()))
            os.write(descriptor, sound[at : at + size])
            late = time.monotonic() - (began + written * PIECE_SECONDS)
            written += 1
            if late > most + PIECE_SECONDS:
                most = late
                said.write_text(str(most))
        number += 1


if __name__ == "__main__":
    feed(Path(sys.argv[1]), Path(sys.argv[2]))
