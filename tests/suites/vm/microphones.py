"""The software USB microphones as processes of their own, so that a busy suite does not disturb their pace."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import priority

SUITES = Path(__file__).parents[1]
CODES_APART = 4096
"""Microphone n plays the code of the time plus n - 1 times this many slots, so that its sound names it."""
NAME = "USB PnP Sound Device"


class Microphone:
    """One USB microphone; ``number`` counts from 1 and is the port it hangs on."""

    def __init__(self, folder: Path, number: int, channels: int = 1) -> None:
        self.number = number
        self.socket = folder / f"microphone-{number}"
        self._streaming_since: float | None = None
        self.control = (True, 0.0)
        """Whether it is switched on, and its volume in dB, as the machine has set them."""
        self._ready = threading.Event()
        path = os.pathsep.join((str(SUITES), str(SUITES / "faults"), str(SUITES.parent / "support")))
        command = [sys.executable, "-m", "vm.usb_microphone", str(self.socket),
                   str((number - 1) * CODES_APART), NAME, str(channels)]  # fmt: skip
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
        )  # fmt: skip
        priority.real_time(self._process.pid)
        threading.Thread(target=self._listen, daemon=True).start()
        if not self._ready.wait(60):
            self.close()
            raise TimeoutError("a USB microphone in software has not begun within 60 s")

    def command(self, word: str) -> float:
        """Give a command of ``usb_microphone``, and return the host time of that."""
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return time.time()

    @property
    def streamed_seconds(self) -> float:
        """How long a program in the machine has been taking sound without a pause; 0: none does."""
        since = self._streaming_since
        return 0.0 if since is None else time.time() - since

    def close(self) -> None:
        """Take it away for good."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            at, _, event = line.strip().partition(" ")
            if event == "ready":
                self._ready.set()
            elif event == "stream":
                self._streaming_since = float(at)
            elif event.startswith("control "):
                _, switch, volume = event.split()
                self.control = (switch == "on", float(volume))
            elif event in {"still", "gone", "unplug"}:
                self._streaming_since = None
