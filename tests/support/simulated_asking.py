"""A person who asks a simulated recorder for recordings, and stops them; and whether each second of them is told of."""

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from threading import Event
from typing import NamedTuple

from simulated_machine import World

from agent.recording.asked.requests import ManualRequest
from agent.recording.recorder import Recorder

READINGS_MS = 2
"""Between two boots a length follows from four readings of clocks in whole milliseconds."""
LAST_BLOCK_MS = 1150
"""A stop, and the end of a window, leave out the block of the microphone in which they fall."""
LOST_BEFORE_MS = 500
"""So much may have been lost right before that block."""
LATE_MS = 125
"""So late the blocks of the microphone arrive: a file's end may lie so far behind the moment of a kill."""
HEARD_MS = 300
"""So long what is asked may lie before the recorder has taken it, durably."""


class Span(NamedTuple):
    """A stretch of true time in milliseconds since the life began, and what it is."""

    begin: int
    end: int
    what: str
    said: int
    """How long it is by its own account, in milliseconds."""


class TimedEvent(Event):
    """Knows when it was set."""

    def __init__(self, milliseconds: Callable[[], int]) -> None:
        super().__init__()
        self._milliseconds = milliseconds
        self.at_ms: float = inf

    def set(self) -> None:
        """Set it, and note when."""
        self.at_ms = min(self.at_ms, self._milliseconds())
        super().set()


@dataclass
class Asked:
    """A recording that was asked for, in milliseconds since the life began."""

    begin: int
    request: ManualRequest
    done: TimedEvent
    stopped: float = inf
    """When a person stopped it, or asked for another; it is owed until then."""
    end: float = inf
    """When it was over: all of it, or with its run, at the start of the next."""
    latest: float = inf
    """Nothing of it is missing after that: the recorder had forgotten it."""

    @property
    def longest(self) -> float:
        """How long it may be, in milliseconds."""
        return inf if self.request.seconds is None else self.request.seconds * 1000


class Asking:
    """Everything that was asked for in a life; ``milliseconds`` gives the true time."""

    def __init__(self, world: World, rng: random.Random, milliseconds: Callable[[], int]) -> None:
        self._world = world
        self._rng = rng
        self._milliseconds = milliseconds
        self._asked: list[Asked] = []
        self._of_run = 0
        """What comes before in ``_asked`` was asked in earlier runs."""
        self._remembered = 0
        """What comes before in ``_asked`` is no longer in the recorder's memory."""
        self._ended = inf
        """When the newest run was told to end, or was killed."""

    def plan(self, recorder: Recorder, seconds: float, asleep: Sequence[tuple[float, float]]) -> None:
        """Ask and stop at random moments of a run, in seconds, but not where the machine sleeps or is about to.

        Nor is it stopped before there is a block again: what was slept through would be part of the one left out.
        """
        rng, after = self._rng, self._world.after

        def is_awake(at: float, until: float = 0.0) -> bool:
            return not any(begin - at < HEARD_MS / 500 and at < end + until for begin, end in asleep)

        for _ in range(rng.choice([1, 1, 2])):
            at, longest = rng.uniform(0, seconds), rng.choice([None, rng.uniform(0.1, 40)])
            if is_awake(at):
                after(at, functools.partial(self._ask, recorder, longest))
            if rng.random() < 0.5 and is_awake(at := rng.uniform(0, seconds), LAST_BLOCK_MS / 1000):
                after(at, lambda: self._stop(recorder))

    def _ask(self, recorder: Recorder, longest: float | None) -> None:
        self._no_longer_owed()
        done = TimedEvent(self._milliseconds)
        request = ManualRequest(seconds=longest, done=done)
        self._asked.append(Asked(self._milliseconds(), request, done))
        recorder.start(request)

    def _stop(self, recorder: Recorder) -> None:
        self._no_longer_owed()
        recorder.stop_manual()

    def _no_longer_owed(self) -> None:
        for asked in self._asked[self._of_run :]:
            asked.stopped = min(asked.stopped, self._milliseconds())

    def run_is_told_to_end(self) -> None:
        """What is asked from now on reaches nobody."""
        self._ended = min(self._ended, self._milliseconds())

    def run_ended(self, recorder: Recorder) -> None:
        """What was asked right before the end may not have reached the recorder, and nobody was told that it has."""
        self.run_is_told_to_end()
        for asked in self._asked[self._of_run :]:
            request = asked.request
            is_heard = request.done.is_set() or request.started.is_set() or recorder.manual is request
            if not is_heard or asked.begin >= self._ended - HEARD_MS:
                asked.stopped = asked.begin

    def run_begins(self, *, knows_of_earlier: bool) -> None:
        """What the run before left is over now, unless it was already; what it still remembers, in any case."""
        for asked in self._asked[self._of_run :]:
            is_over = asked.done.at_ms < self._ended
            asked.end = asked.latest = asked.done.at_ms if is_over else self._milliseconds()
        if knows_of_earlier:
            for asked in self._asked[self._remembered :]:
                asked.latest = self._milliseconds()
        else:
            self._remembered = len(self._asked)
        self._of_run = len(self._asked)
        self._ended = inf

    def faults(self, spans: Sequence[Span], last_stop: int, asleep_ms: float) -> list[str]:
        """Return which recordings have a hole in files and gaps, and whether more is called missing than was asked.

        What the machine slept through is missing too: a recording of some length takes so much longer.
        """
        faults = [
            f"{after.begin - before.end:+d} ms before {after}"
            for before, after in pairwise(spans)
            if after.begin < before.end - LATE_MS
        ]
        wanted = 0.0
        for asked in self._asked:
            end = min(asked.end, last_stop)
            wanted += min(min(asked.latest, last_stop) - asked.begin, asked.longest)
            owed = min(end, asked.stopped, asked.begin + asked.longest) - asked.begin
            covered = sum(
                max(0, min(span.end, asked.begin + owed) - max(span.begin, asked.begin)) for span in spans
            )
            if covered < owed - LAST_BLOCK_MS - LOST_BEFORE_MS:
                faults.append(f"{covered - owed:+.0f} ms of what was asked for at {asked.begin}")
        missing = sum(span.said for span in spans if not span.what.startswith("file"))
        if missing > wanted + asleep_ms + LATE_MS * len(self._asked):
            faults.append(f"{missing} ms missing of {wanted:.0f} that were asked for")
        return faults
