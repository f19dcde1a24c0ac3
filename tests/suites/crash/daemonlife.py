"""The real daemon with all its threads, on a clock ten times as fast, until it is killed."""

import ctypes
import mmap
import os
import signal
import struct
from functools import partial
from pathlib import Path
from typing import Any

from clocks import FastClock

import agent.deliverer.process
import agent.recorder.process
from agent import log
from agent.audio.source import Block, SourceState
from agent.config.loader import load
from agent.config.schema import Config
from agent.deliverer.wiring import DelivererWiring
from agent.index.repair import Repair
from agent.process.state_directory import StateDirectory, resolve
from agent.recorder.wiring import RecorderWiring

RATE = 16000
BLOCK = RATE * 60 // 1000
COUNTER = struct.Struct("<Q")
PR_SET_PDEATHSIG = 1


class PacedSound:
    """A source that gives 60 ms when they have passed on its clock, and counts in shared memory what it has given."""

    sample_rate = RATE
    channels = 1
    identity = "file:sound"
    name = "sound"

    has_more = False
    """Nothing lies ready: what is captured is taken at once."""

    def __init__(self, pcm: bytes, clock: FastClock, counter: mmap.mmap) -> None:
        self._pcm = pcm
        self._clock = clock
        self._counter = counter
        self._given = 0
        self._began: float | None = None
        self.state = SourceState.CLOSED
        self.last_error = ""

    def read(self, timeout: float) -> Block | None:
        """Wait for the next block."""
        if self._began is None:
            self._began = self._clock.monotonic()
            self.state = SourceState.LISTENING
        due = self._began + (self._given + 1) * BLOCK / RATE
        ahead = due - self._clock.monotonic()
        if ahead > 0:
            self._clock.sleep(min(ahead, timeout))
            if ahead > timeout:
                return None
        begin = 2 * BLOCK * self._given % (len(self._pcm) - 2 * BLOCK)
        block = Block(self._given, due, overflow=False, samples=self._pcm[begin : begin + 2 * BLOCK])
        self._given += 1
        COUNTER.pack_into(self._counter, 0, self._given * BLOCK)
        return block

    def close(self) -> None:
        """Let go of nothing."""
        self.state = SourceState.CLOSED


class FastParts(RecorderWiring):
    """The agent's parts on a fast clock, with a source that counts."""

    def __init__(
        self, sound: Path, counter: Path, clock: FastClock, config: Config, state: StateDirectory
    ) -> None:
        super().__init__(config, state, clock=clock, machine=lambda: "ntp")
        self._sound = sound
        self._count_in = counter
        self._fast = clock

    def source(self) -> PacedSound:
        """Return the sound."""
        with self._count_in.open("r+b") as file:
            counter = mmap.mmap(file.fileno(), COUNTER.size)
        return PacedSound(self._sound.read_bytes()[44:], self._fast, counter)


def leave_alone(_repair: Repair, _path: Path) -> None:
    """Take the place of the repair, which must then be missed."""


def live_as_daemon(order: dict[str, Any]) -> None:
    """Run the daemon until it is killed or stopped."""
    if order.get("broken") == "repair":
        setattr(Repair, "open_file", leave_alone)  # noqa: B010 - the control puts it out of order
    log.configure("error", "text", Path(order["folder"], "daemon.log").open("a"))  # noqa: SIM115 - until the kill
    clock = FastClock(order["zero"], order["factor"])
    parts = partial(FastParts, Path(order["wav"]), Path(order["counter"]), clock)
    _deliver_beside(order, clock)
    setattr(agent.recorder.process, "RecorderWiring", parts)  # noqa: B010 - the daemon builds its own
    config = Path(order["folder"], "config.toml")
    loaded = load(config, {})
    state = resolve(loaded, {})
    state.create()
    agent.recorder.process.RecorderProcess(loaded, state, config).run()


def _deliver_beside(order: dict[str, Any], clock: FastClock) -> None:
    """Run the deliverer in a process of its own, which dies with the recorder's: a kill of both at once."""
    parent = os.getpid()
    if os.fork():
        return
    code = 3
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            wiring = partial(DelivererWiring, environ={}, clock=clock, machine=lambda: "ntp")
            setattr(agent.deliverer.process, "DelivererWiring", wiring)  # noqa: B010 - as above
            loaded = load(Path(order["folder"], "config.toml"), {})
            code = agent.deliverer.process.DelivererProcess(loaded, resolve(loaded, {}), None).run()
    finally:
        os._exit(code)
