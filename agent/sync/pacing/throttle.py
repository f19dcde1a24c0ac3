"""The owner's limit on the speed of uploads (``sync.max_kbit_per_second``; a kbit is 1000 bits)."""

import threading

from agent.api.errors import AGAIN, Aborted
from agent.clock import Clock


class Throttle:
    """The ``pace`` of an upload: waits before each piece until those before it would have gone at the allowed speed."""

    def __init__(self, kbit_per_second: int, clock: Clock, stopped: threading.Event) -> None:
        self._seconds_per_byte = 8 / (kbit_per_second * 1000)
        self._clock = clock
        self._stopped = stopped
        self._free_at = clock.monotonic()

    def __call__(self, size: int) -> None:
        """Wait until ``size`` bytes may be sent.

        Raises:
            Aborted: the agent stops.
        """
        now = self._clock.monotonic()
        begins = max(self._free_at, now)
        self._free_at = begins + size * self._seconds_per_byte
        if begins > now and self._clock.wait(self._stopped, begins - now):
            raise Aborted("The upload was cut short because the agent is stopping", AGAIN)
