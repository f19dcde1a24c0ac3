"""What the parts of the suite work with: one machine, its microphones, the recordings API, the findings."""

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.sandbox.server import SandboxServer
from vm.findings import Findings
from vm.heard import Collection, Slot
from vm.host_clock import HostClock
from vm.image import Image, working_copy
from vm.line_in import LineIn
from vm.machine import Machine
from vm.microphones import Microphone
from vm.settings import FLUSH_SECONDS

STREAM_SECONDS = 240
"""The recorder takes sound this long after power on at the latest."""
DELIVERY_SECONDS = 240
GONE_SECONDS = 20

CARD = "$(sed -n 's/^ *[0-9]* \\[\\([^ ]*\\) *\\]: USB-Audio.*/\\1/p' /proc/asound/cards | head -1)"
"""The id of the first USB microphone, for the shell of the machine."""

Row = dict[str, Any]


@dataclass
class Lab:
    """A machine that can be switched on, and everything around it."""

    machine: Machine
    microphones: dict[int, Microphone]
    collection: Collection
    findings: Findings
    rng: random.Random
    flush_seconds: int = FLUSH_SECONDS
    """What its settings promise: a power cut costs no more sound than this, and what is on its way to a page."""

    def power_on(self) -> None:
        """Switch the machine on, when its microphones know that it was off."""
        end = time.monotonic() + GONE_SECONDS
        while any(each.streamed_seconds for each in self.microphones.values()) and time.monotonic() < end:
            time.sleep(0.05)
        self.machine.power_on()

    def wait_stream(self, seconds: float, number: int = 1, limit: float = STREAM_SECONDS) -> bool:
        """Wait until a program has been taking a microphone's sound for so long."""
        end = time.monotonic() + limit + seconds
        while time.monotonic() < end:
            streamed = self.microphones[number].streamed_seconds
            if streamed >= seconds:
                return True
            if not self.machine.is_on():
                return False
            time.sleep(min(0.5, max(0.01, seconds - streamed)))
        return False

    def queue(self) -> list[Row]:
        """Return what the agent says it has recorded."""
        rows: list[Row] = self.machine.json("recorder-agent queue list --json")
        return rows

    def gaps(self) -> list[Row]:
        """Return what the agent says it has not recorded."""
        rows: list[Row] = self.machine.json("recorder-agent gaps --json")
        return rows

    def heard_after(self, moment: float, number: int, limit: float = 150) -> Slot | None:
        """Return the first code that was recorded from a microphone after a moment, once it is delivered."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            found = [
                each for each in self.collection.slots() if each.at >= moment and each.microphone == number
            ]
            if found:
                return found[0]
            time.sleep(3)
        return None

    def wait_settled(self, before: float, limit: float = DELIVERY_SECONDS) -> list[Row]:
        """Wait until all that began before a moment is delivered; return what is not."""
        end = time.monotonic() + limit
        waiting: list[Row] = []
        while time.monotonic() < end:
            try:
                rows = self.queue()
            except ValueError:
                rows = [{"started_at": None, "status": "unknown"}]
            waiting = [row for row in rows if row["status"] != "uploaded" and began(row) < before]
            if not waiting:
                return []
            time.sleep(4)
        return waiting


@contextmanager
def lab(
    image: Image,
    folder: Path,
    findings: Findings,
    rng: random.Random,
    accelerator: tuple[str, ...],
    microphones: int = 1,
    with_line_in: bool = False,
    channels: int = 1,
) -> Iterator[Lab]:
    """Set a lab up over a fresh copy of an image; nothing of it runs afterwards."""  # fmt: skip
    folder.mkdir()
    with ExitStack() as stack:
        server = stack.enter_context(SandboxServer(folder / "api"))
        clock = stack.enter_context(HostClock())
        plugged = {
            number: stack.enter_context(Microphone(folder, number, channels))
            for number in range(1, microphones + 1)
        }
        line_in = stack.enter_context(LineIn(folder)) if with_line_in else None
        machine = Machine(
            working_copy(image, folder), folder, accelerator=accelerator,
            ports={"api": server.port, "clock": clock.port},
            usb={number: each.socket for number, each in plugged.items()},
            more=(line_in.options, line_in.environment) if line_in else ([], {}),
        )  # fmt: skip
        stack.callback(machine.end)
        yield Lab(machine, plugged, Collection(server), findings, rng)


def unix(text: str) -> float:
    """Return the unix time of what the agent prints."""
    return datetime.fromisoformat(text).timestamp()


def began(row: Row) -> float:
    """Return when a recording began; at the beginning of time when nobody knows."""
    return unix(row["started_at"]) if row["started_at"] else 0.0
