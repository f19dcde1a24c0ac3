"""The hours of a day in which recordings are sent (``sync.off_peak_hours``)."""

from datetime import UTC, datetime, time

from agent.config.schema import OffPeakHours
from agent.zone import zone

MINUTE = 60
_LONGEST_LOOK = 3 * 24 * 60


class OffPeak:
    """Judges by the clock on the wall of the zone: on the day an hour is skipped or repeated, so is the window's part.

    An end before the start is on the next day. All moments are unix seconds.
    """

    def __init__(self, hours: OffPeakHours) -> None:
        self._start = time.fromisoformat(hours.start)
        self._end = time.fromisoformat(hours.end)
        self._zone = zone(hours.timezone)
        self._closed: tuple[float, float] | None = None

    def opens_at(self, now: float) -> float | None:
        """Return when the hours begin next, None when they are now."""
        if self._closed is not None and self._closed[0] <= now < self._closed[1]:
            return self._closed[1]
        self._closed = None
        if self._is_open(now):
            return None
        minute = now - now % MINUTE
        # Whole minutes: so are the hours' ends, and the changes of every zone in this century.
        opening = next(
            at for at in (minute + MINUTE * step for step in range(1, _LONGEST_LOOK)) if self._is_open(at)
        )
        self._closed = (now, opening)
        return opening

    @property
    def part_of_the_day(self) -> float:
        """How much of a usual day the hours are, of 1."""
        minutes = (self._end.hour - self._start.hour) * 60 + self._end.minute - self._start.minute
        return minutes % (24 * 60) / (24 * 60)

    def _is_open(self, at: float) -> bool:
        now = datetime.fromtimestamp(at, tz=UTC).astimezone(self._zone).time()
        if self._start < self._end:
            return self._start <= now < self._end
        return now >= self._start or now < self._end
