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

from timecode import RATE
from virtual_microphone import VirtualMicrophone

FEEDER = str(Path(__file__).with_name("code_feeder.py"))
MOST_LATE = 1.0
"""Seconds: behind it the recorder may take the source for wedged, and be right."""


class CodeMicrophone(VirtualMicrophone):
    """Its source ``mic`` gives nothing but the code; the number 0 was at the moment of its making."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._pipe = root / "code.pcm"
        self._said = root / "code.late"
        self._zero = time.monotonic()
        self._listener: subprocess.Popen[bytes] | None = None
        self._feeder: subprocess.Popen[bytes] | None = None

    @property
    def most_late(self) -> float:
        """By how many seconds the code was late at most, until now."""
        return float(self._said.read_text()) if self._said.exists() else 0.0

    def check(self) -> None:
        """Fail where the source itself was too late for anything to be told of the recorder."""
        assert self.most_late < MOST_LATE, (
            f"the source itself was {self.most_late:.1f} s late: this run tells nothing, the machine has no time for it"
        )

    def start(self) -> None:
        """Start the daemon; the code flows from now on."""
        self._pipe.unlink(missing_ok=True)
        super().start()

    def kill(self) -> None:
        """Unplug: the daemon dies at once, and the code ends."""
        super().kill()
        self._end(self._feeder, self._listener)
        self._feeder = self._listener = None

    def freeze(self) -> None:
        """Wedge: the device stays there, and gives nothing."""
        super().freeze()
        self._end(self._feeder)
        self._feeder = None

    def thaw(self) -> None:
        """End the wedge: it goes on with the code of now."""
        if self._feeder is None:
            _empty(self._pipe)
        super().thaw()
        self._feed()

    def _modules(self) -> tuple[str, ...]:
        options = f"source_name=mic file={self._pipe} format=s16le rate={RATE} channels=1"
        return (f"module-pipe-source {options}",)

    def _begin(self) -> None:
        # A source that nobody hears is not read: what lies in its pipe would be heard late.
        self._listener = self._spawn(["parec", "--raw", "-d", "mic", "--latency-msec=500"])
        self._feed()

    def _feed(self) -> None:
        if self._feeder is None:
            code = [sys.executable, FEEDER, str(self._pipe), str(self._said), str(self._zero)]
            self._feeder = self._spawn(code)

    def _end(self, *processes: subprocess.Popen[bytes] | None) -> None:
        for process in processes:
            if process is not None:
                process.kill()
                process.wait()


def _empty(pipe: Path) -> None:
    """Take what lies in a named pipe that somebody else has open."""
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, 1 << 20):
            pass
    os.close(descriptor)
