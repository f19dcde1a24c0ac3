"""When something may be tried again, on a clock that no wall-clock jump disturbs and that a restart does not forget."""

from agent.clock import Clock, Instant, milliseconds

ROUNDING_SECONDS = 0.001
"""Moments are kept in whole milliseconds."""


class Deadlines:
    """Makes and judges moments in the future; across a reboot only the wall clock is left to judge by."""

    def __init__(self, clock: Clock, boot_id: str) -> None:
        self._clock = clock
        self.boot_id = boot_id

    def after(self, seconds: float) -> Instant:
        """Return the moment ``seconds`` from now."""
        return Instant(
            wall_ms=milliseconds(self._clock.wall() + seconds),
            boot_id=self.boot_id,
            boot_ms=milliseconds(self._clock.boottime() + seconds),
            clock="",
        )

    def remaining(self, moment: Instant | None, longest: float) -> float:
        """Return the seconds left until a moment that was set at most ``longest`` seconds ahead; 0 when it is over.

        A moment further away than ``longest`` is over: after a reboot it was set under a wrong clock, and in this boot
        it is not what was written.
        """
        if moment is None:
            return 0.0
        if moment.boot_id == self.boot_id:
            left = moment.boot_ms / 1000 - self._clock.boottime()
        else:
            left = moment.wall_ms / 1000 - self._clock.wall()
        return left if 0 < left <= longest + ROUNDING_SECONDS else 0.0
