"""How long until the next heartbeat: slower while the fleet's limit is short, so that recordings go first.

Crowded: others need room. Up to four minutes, in which a command (it lives for five) still reaches the device.
Scarce: recordings can hardly be sent as fast as they are made. Up to 14 minutes, jitter included; a device counts as
online for 15 after a heartbeat (api.md section 6).
"""

import random
from collections.abc import Callable

LONGEST = 840.0
CROWDED_LONGEST = 240.0
SLOWER, FASTER = 1.5, 0.75
JITTER = 0.15
"""The part of an interval that is left to chance; it is taken off, never added."""
AFTER_A_PAUSE = 30.0
"""Seconds over which heartbeats spread out after a pause."""


class HeartbeatInterval:
    """The interval of the heartbeats, in seconds; keeps how far it is stretched. Not thread-safe.

    ``crowded`` says whether the limit is short, ``scarce`` whether recordings are held back more than they can bear.
    """

    def __init__(
        self,
        interval: float,
        rng: random.Random,
        *,
        crowded: Callable[[], bool],
        scarce: Callable[[], bool],
    ) -> None:
        self._interval = interval
        self._rng = rng
        self._crowded = crowded
        self._scarce = scarce
        self._now = interval

    @property
    def seconds(self) -> float:
        """The present interval, without jitter."""
        return self._now

    def after_success(self) -> float:
        """Return the wait after a heartbeat that was taken, or that met nobody; jitter included."""
        self._adjust(short=self._crowded())
        return self._now * self._rng.uniform(1 - JITTER, 1)

    def after_refusal(self, left: float) -> float:
        """Return the wait after a heartbeat that met a pause with ``left`` seconds to go."""
        self._adjust(short=True)
        return left + self._rng.uniform(0.0, AFTER_A_PAUSE)

    def _adjust(self, *, short: bool) -> None:
        longest = max(LONGEST if self._scarce() else CROWDED_LONGEST, self._interval)
        if short and self._now <= longest:
            self._now = min(self._now * SLOWER, longest)
        else:
            self._now = max(self._now * FASTER, self._interval)
