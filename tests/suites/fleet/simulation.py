"""A fleet and its server on a simulated clock: the agent's own limits, backoff and heartbeat intervals, no threads."""

import heapq
import itertools
import random
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.api.errors import RateLimited
from agent.api.headers import RateLimit
from agent.clock import Instant
from agent.config.schema import Config, SyncConfig
from agent.environment import Environment
from agent.sync.pacing.backoff import Backoff
from agent.sync.pacing.heartbeat_interval import HeartbeatInterval
from agent.sync.pacing.limits import UPLOAD_URL, Limits
from agent.sync.syncer import POLL_SECONDS

START = 1_700_000_000.0
ROUND_TRIP = 0.2
UPLOAD_SECONDS = 4.0

Process = Iterator[float]
Answered = Generator[float, None, bool]
"""A part of a process that returns whether the server took the call."""


class Time:
    """The simulated clock, and the processes that wait on it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._numbers = itertools.count()
        self._queue: list[tuple[float, int, Process]] = []

    def wall(self) -> float:
        """Unix time."""
        return START + self.now

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self.now

    def boottime(self) -> float:
        """The same."""
        return self.now

    def wait(self, _event: threading.Event, _seconds: float | None) -> bool:
        """Never be called."""
        raise AssertionError("a process of the simulation yields its waits")

    def sleep(self, _seconds: float) -> None:
        """Never be called."""
        raise AssertionError("a process of the simulation yields its waits")

    def start(self, process: Process, after: float = 0.0) -> None:
        """Let a process run; what it yields are the seconds it waits."""
        heapq.heappush(self._queue, (self.now + after, next(self._numbers), process))

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> None:
        """Run the processes, in order, until a time or until ``done``."""
        while self._queue and self._queue[0][0] <= until and not done():
            self.now, _number, process = heapq.heappop(self._queue)
            seconds = next(process, None)
            if seconds is not None:
                self.start(process, max(seconds, 1e-3))


class FixedWindow:
    """So many calls in each minute of the clock."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._window = -1
        self._count = 0

    def left(self, now: float) -> int:
        """Return how many more calls may be made now."""
        if int(now // 60) != self._window:
            self._window, self._count = int(now // 60), 0
        return self.limit - self._count

    def count(self, _now: float) -> None:
        """Count a call."""
        self._count += 1

    def reset_in(self, now: float) -> float:
        """Return the seconds until calls are given back."""
        return 60 - now % 60


class SlidingWindow:
    """So many calls in the last 60 seconds; room comes back as calls grow old."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._calls: deque[float] = deque()

    def left(self, now: float) -> int:
        """Return how many more calls may be made now."""
        while self._calls and self._calls[0] <= now - 60:
            self._calls.popleft()
        return self.limit - len(self._calls)

    def count(self, now: float) -> None:
        """Count a call."""
        self._calls.append(now)

    def reset_in(self, now: float) -> float:
        """Return the seconds until calls are given back."""
        return self._calls[0] + 60 - now if self._calls else 60.0


Window = FixedWindow | SlidingWindow


class Server:
    """100 calls and 30 upload URLs a minute for all; every answer says what the tighter of its limits has left."""

    def __init__(
        self, time: Time, kind: type[FixedWindow | SlidingWindow] = FixedWindow, *, says: bool = True
    ) -> None:
        self._time = time
        self._says = says
        self._calls, self._urls = kind(100), kind(30)
        self.answers = 0
        self.refused = 0
        self.per_call: dict[str, int] = {}

    def answer(self, call: str) -> tuple[int, RateLimit | None, float | None]:
        """Return status, figures, and the Retry-After of a 429; whole seconds, as headers have them."""
        now = self._time.now
        windows = [self._calls, self._urls] if call == UPLOAD_URL else [self._calls]
        tight = min(windows, key=lambda window: window.left(now))
        left = tight.left(now)
        self.answers += 1
        if left <= 0:
            self.refused += 1
        else:
            self.per_call[call] = self.per_call.get(call, 0) + 1
            for window in windows:
                window.count(now)
        reset = float(max(1, -int(-tight.reset_in(now) // 1)))
        said = RateLimit(tight.limit, max(0, left - 1), reset, now) if self._says else None
        return (429, said, reset) if left <= 0 else (200, said, None)


class Memory:
    """Pauses, for as long as the simulation lasts."""

    def __init__(self) -> None:
        self._until: dict[str, Instant | None] = {}

    def pause(self, name: str) -> Instant | None:
        """Return what was kept."""
        return self._until.get(name)

    def set_pause(self, name: str, until: Instant | None) -> None:
        """Keep it."""
        self._until[name] = until


@dataclass
class Device:
    """One recorder: what it has recorded, what it has delivered, when it was heard of."""

    time: Time
    server: Server
    rng: random.Random
    segment_seconds: float = 600
    heartbeat_seconds: float = 60
    waiting: int = 0
    recorded: int = 0
    delivered: int = 0
    drained_at: float | None = None
    heard_at: list[float] = field(default_factory=list)
    too_small: bool = False
    calls_per_minute: int = 20

    def __post_init__(self) -> None:
        backoff = Backoff(rng=self.rng)
        config = Config(sync=SyncConfig(calls_per_minute=self.calls_per_minute))
        environment = Environment(config, Path(), clock=self.time, rng=self.rng, boot_id="boot")
        memory: Any = Memory()
        self.limits = Limits(environment, memory, self.segment_seconds)
        self.stretch = HeartbeatInterval(
            self.heartbeat_seconds, self.rng, crowded=self.limits.crowded, scarce=self.limits.scarce
        )
        self.recorded = self.waiting
        self._step = 0
        self._next = self.time.now + self.rng.uniform(0, self.segment_seconds)
        self.time.start(self._record(), self._next - self.time.now)
        self.time.start(self._sync(), backoff.delay(99))
        self.time.start(self._heartbeat(), self.rng.uniform(0, self.heartbeat_seconds))

    def _record(self) -> Process:
        while True:
            self.waiting += 1
            self.recorded += 1
            self._next = self.time.now + self.segment_seconds
            yield self.segment_seconds

    def _sync(self) -> Process:
        while True:
            if not self.waiting:
                if self.drained_at is None:
                    self.drained_at = self.time.now
                yield self._next - self.time.now + 0.01
                continue
            self.too_small = self.limits.observe(self.waiting)
            wait = max(self.limits.recording_wait(), self.limits.pause_left())
            if wait > 0:
                yield min(wait, POLL_SECONDS)
                continue
            self.limits.recording_begins()
            yield from self._deliver()

    def _deliver(self) -> Process:
        """Take the steps that are missing; a refusal leaves the rest for later."""
        for number, call in enumerate(("create", UPLOAD_URL, "complete")):
            if number < self._step:
                continue
            if number == 2:
                yield UPLOAD_SECONDS
            ok = yield from self._call(call)
            if not ok:
                return
            self._step = number + 1
        self._step = 0
        self.waiting -= 1
        self.delivered += 1

    def _call(self, call: str) -> Answered:
        try:
            while wait := self.limits.admit(call):
                yield wait
        except RateLimited:
            return False
        yield ROUND_TRIP / 2
        status, said, asked = self.server.answer(call)
        yield ROUND_TRIP / 2
        self.limits.answered(call, status, said and said._replace(monotonic=self.time.now), asked)
        return status == 200

    def _heartbeat(self) -> Process:
        while True:
            ok = yield from self._call("heartbeat")
            yield self._after_heartbeat(heard=ok)

    def _after_heartbeat(self, *, heard: bool) -> float:
        """Return the wait, as ``Heartbeat`` finds it."""
        if heard:
            self.heard_at.append(self.time.now)
            return self.stretch.after_success()
        return self.stretch.after_refusal(self.limits.pause_left())
