"""The gate of a process's calls for tests, and what keeps its pauses."""

import random
import sqlite3
from pathlib import Path
from typing import Any

from simulated import SimulatedClock

from agent.api.headers import RateLimit
from agent.clock import Instant
from agent.config.schema import Config, SyncConfig
from agent.environment import Environment
from agent.sync.pacing.limits import Limits


class Memory:
    """Pauses that outlive a process; ``broken`` refuses to keep them."""

    def __init__(self, *, broken: bool = False) -> None:
        self.kept: dict[str, Instant | None] = {}
        self._broken = broken

    def pause(self, name: str) -> Instant | None:
        """Return what was kept."""
        if self._broken:
            raise sqlite3.ProgrammingError("Cannot operate on a closed database.")
        return self.kept.get(name)

    def set_pause(self, name: str, until: Instant | None) -> None:
        """Keep it."""
        if self._broken:
            raise sqlite3.OperationalError("disk I/O error")
        self.kept[name] = until


def limits(clock: SimulatedClock, memory: Any, per_minute: int = 20, boot: str = "boot") -> Limits:
    """Return the gate of one process."""
    config = Config(sync=SyncConfig(calls_per_minute=per_minute))
    return Limits(Environment(config, Path(), clock=clock, rng=random.Random(1), boot_id=boot), memory, 600)


def said(clock: SimulatedClock, remaining: int, reset_in: float, limit: int = 100) -> RateLimit:
    """Return what an answer of this moment says."""
    return RateLimit(limit, remaining, reset_in, clock.monotonic())
