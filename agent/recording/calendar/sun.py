"""When the sun rises and sets at a place: NOAA's equations, as ``astral`` has them, for one solar day at a time.

A solar day goes from midnight to midnight by the sun, and bears the date that it has at its noon by local mean time. So
each has at most one sunrise, before noon, and one sunset, after it, wherever it is and whatever the clocks there show.
"""

import math
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

HEIGHTS = {"sunrise": -50 / 60, "sunset": -50 / 60, "dawn": -6.0, "dusk": -6.0}
"""How high the sun's centre stands then, in degrees: as almanacs have them, dawn and dusk the civil ones."""
RISING = {"sunrise", "dawn"}
_MOST_LATITUDE = 89.8
"""Nearer to a pole the equations have no answer."""
_ROUNDS = 5
"""So often the moment is worked out anew from where the sun stands at the moment found before."""
_DAYS_KEPT = 2048


class Sun:
    """The sun over a place, in degrees north and east. Moments are whole seconds in UTC; good to half a minute."""

    def __init__(self, latitude: float, longitude: float) -> None:
        from astral import julian, sun  # noqa: PLC0415 - only schedules by the sun need it

        self._julian, self._sun = julian, sun
        self._latitude = math.radians(max(-_MOST_LATITUDE, min(_MOST_LATITUDE, latitude)))
        self._longitude = longitude
        self._find = lru_cache(_DAYS_KEPT)(self._found)

    def day_of(self, moment: datetime) -> date:
        """Return the solar day of a moment, give or take the quarter of an hour by which its noon wanders."""
        return (moment + timedelta(days=self._longitude / 360)).date()

    def noon(self, day: date) -> datetime:
        """Return when the sun stands highest."""
        return self._find("noon", day)[0] or datetime.combine(day, time(12), UTC)

    def midnight(self, day: date) -> datetime:
        """Return when a solar day begins, and the one before ends."""
        noon, before = self.noon(day), self.noon(day - timedelta(days=1))
        return before + (noon - before) // 2

    def at(self, name: str, day: date) -> datetime | None:
        """Return when it is ``sunrise``, ``sunset``, ``dawn`` or ``dusk``; None on a day without."""
        return self._find(name, day)[0]

    def is_up(self, name: str, day: date) -> bool:
        """Return, of a day without this moment, whether the sun is above its height all day long."""
        return self._find(name, day)[1]

    def _found(self, name: str, day: date) -> tuple[datetime | None, bool]:
        """Return the moment, and whether the sun is up at noon's opposite."""
        start = self._julian.julianday(day)
        height = HEIGHTS.get(name)
        at, cosine = 0.5 - self._longitude / 360, 0.0
        for _ in range(_ROUNDS):
            century = self._julian.julianday_to_juliancentury(start + at)
            declination = math.radians(self._sun.sun_declination(century))
            at = 0.5 - self._longitude / 360 - self._sun.eq_of_time(century) / 1440
            if height is not None:
                cosine = (
                    math.sin(math.radians(height)) - math.sin(self._latitude) * math.sin(declination)
                ) / (math.cos(self._latitude) * math.cos(declination))
                turn = math.degrees(math.acos(max(-1.0, min(1.0, cosine)))) / 360
                at += -turn if name in RISING else turn
        if abs(cosine) > 1:
            return None, cosine < -1
        return datetime.combine(day, time(), UTC) + timedelta(seconds=round(at * 86_400)), False
