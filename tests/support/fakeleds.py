"""An LED of /sys/class/leds that is watched while it is driven, with what kernel and udev do beside it."""

import os
import threading
import time
from pathlib import Path
from typing import Self

POLL_SECONDS = 0.002


class FakeLed:
    """A folder like /sys/class/leds/<name>. Files that are not there cannot be made, as in sysfs: see ``stray``.

    As a context manager it plays the kernel: once the trigger is ``timer``, ``delay_on`` and ``delay_off`` appear,
    though only ``late`` seconds later, when udev has given the right to them.
    """

    def __init__(self, root: Path, name: str = "ACT", most: int = 1, *, late: float = 0.0) -> None:
        self.folder = root / name
        self.folder.mkdir(parents=True)
        self._late = late
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play_kernel)
        for file, text in {
            "max_brightness": f"{most}\n",
            "trigger": "none [mmc0] timer\n",
            "brightness": "0\n",
        }.items():
            (self.folder / file).write_text(text, "ascii")

    def read(self, file: str) -> str:
        """Return what was written last."""
        return (self.folder / file).read_text("ascii")

    @property
    def stray(self) -> set[str]:
        """What a program has made that no kernel would let it make."""
        known = {"max_brightness", "trigger", "brightness", "delay_on", "delay_off"}
        return {path.name for path in self.folder.iterdir()} - known

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _play_kernel(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            if self.read("trigger") == "timer" and not (self.folder / "delay_on").exists():
                time.sleep(self._late)
                for file in ("delay_on", "delay_off"):
                    partial = self.folder / f"{file}.new"
                    partial.write_text("500\n", "ascii")
                    os.replace(partial, self.folder / file)  # noqa: PTH105 - as one step
