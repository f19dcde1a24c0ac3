"""Time that a test owns, and a source of sound that follows a script: nothing here ever sleeps."""

import threading
from collections.abc import Callable, Generator, Iterator

import numpy as np

from agent.audio.source import Block, EndOfSource, SourceLost, SourceState

RATE = 8000
"""Samples per second of the scripted source."""
BLOCK = 800
"""Samples in one of its blocks."""
BEGINNING = 1_767_225_600.0
"""The wall clock at the start: 2026-01-01 00:00 UTC."""

LAST = 1_000_000.0
"""Monotonic time that no test reaches."""

Item = Block | Exception | None
Script = Generator[Item, None, None]


class SimulatedClock:
    """A ``Clock`` that stands still until something waits on it, or a test moves it; one thread only."""

    def __init__(self, wall: float = BEGINNING, monotonic: float = 1000.0) -> None:
        self._wall_at_zero = wall - monotonic
        self._now = monotonic
        self._alarms: list[tuple[float, Callable[[], object]]] = []

    def wall(self) -> float:
        """Unix time."""
        return self._wall_at_zero + self._now

    def monotonic(self) -> float:
        """Seconds."""
        return self._now

    def boottime(self) -> float:
        """Seconds; the machine has never been suspended."""
        return self._now

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Let the time pass, unless the event is set already."""
        if not event.is_set():
            assert seconds is not None, "would wait for ever"
            self.sleep(seconds)
        return event.is_set()

    def sleep(self, seconds: float) -> None:
        """Let the time pass, and do on the way what was planned for it."""
        end = self._now + max(seconds, 0.0)
        while self._alarms and self._alarms[0][0] <= end:
            at, act = self._alarms.pop(0)
            self._now = max(self._now, at)
            act()
        self._now = max(self._now, end)
        assert self._now < LAST, "the test never ends"

    def step(self, seconds: float) -> None:
        """Let the wall clock jump."""
        self._wall_at_zero += seconds

    def after(self, seconds: float, act: Callable[[], object]) -> None:
        """Plan something."""
        self._alarms.append((self._now + seconds, act))
        self._alarms.sort(key=lambda alarm: alarm[0])


class ScriptedSource:
    """A ``Source`` that gives what a generator yields: blocks, None (nothing within the time-out), or an exception."""

    has_more = False
    """Nothing lies ready: what is captured is taken at once, unless a script says otherwise."""

    def __init__(self, clock: SimulatedClock, script: Callable[["ScriptedSource"], Script]) -> None:
        self.sample_rate = RATE
        self.channels = 1
        self.state = SourceState.CLOSED
        self.identity: str | None = "usb-0000:0000-test"
        self.name = "Scripted"
        self.last_error = ""
        self.given = 0
        """Samples handed out so far."""
        self.closed = 0
        """How often it was let go of."""
        self._clock = clock
        self._items: Iterator[Item] = self._begun_by_the_first_read(script)
        self._sequence = 0

    def read(self, timeout: float) -> Block | None:
        """Return, or raise, the next item of the script; behind its end there is nothing any more."""
        item = next(self._items, None)
        if item is None:
            self._clock.sleep(timeout)
        elif isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        """Count from 0 again when it is opened anew."""
        self.closed += self.state is not SourceState.CLOSED
        self.state = SourceState.CLOSED
        self._sequence = 0

    def _begun_by_the_first_read(self, script: Callable[["ScriptedSource"], Script]) -> Script:
        yield from script(self)

    # what a script is made of

    def sound(self, seconds: float, *, level: int = 3000, overflow: bool = False) -> Script:
        """Give sound at its pace; ``overflow`` flags the first block."""
        samples = round(seconds * RATE)
        while samples > 0:
            count = min(samples, BLOCK)
            self._clock.sleep(count / RATE)
            yield self.block(count, level=level, overflow=overflow)
            overflow = False
            samples -= count

    def block(self, count: int, *, level: int = 3000, overflow: bool = False) -> Block:
        """Return a block that ends now."""
        self.state, self.last_error = SourceState.LISTENING, ""
        ramp = np.sin((self.given + np.arange(count)) * 0.3) * level
        self.given += count
        self._sequence += 1
        return Block(self._sequence - 1, self._clock.monotonic(), overflow, ramp.astype("<i2").tobytes())

    def lose(self, seconds: float, state: SourceState = SourceState.LOST) -> Script:
        """Lose the device, once, and have none for so long; it counts from 0 afterwards."""
        self.state, self.last_error = state, "The microphone went away."
        yield SourceLost(self.last_error)
        yield from self.nothing(seconds)
        self._sequence = 0

    def nothing(self, seconds: float) -> Script:
        """Give nothing for so long."""
        end = self._clock.monotonic() + seconds
        while self._clock.monotonic() < end:
            yield None

    def end(self) -> Script:
        """Be a file that is at its end."""
        self.state = SourceState.ENDED
        yield EndOfSource()
