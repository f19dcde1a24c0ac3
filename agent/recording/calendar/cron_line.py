"""When a line of cron's opens a window, in a zone whose clock jumps twice a year.

A line with a fixed hour that the clock skips runs right after the jump, and one that comes twice runs once, the first
time. A line whose hour is ``*`` or has a step goes by elapsed time: it runs in every hour that there is.

Which dates a line means is APScheduler's to say; it is asked in UTC, on a calendar without jumps, because its
arithmetic in a zone loops and doubles at them.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

from agent.config.schema import ScheduleWindow, expand_cron
from agent.zone import zone

DAY = timedelta(days=1)
_MINUTES_A_DAY = 1440


class CronStarts:
    """The starts of one entry of ``recording.schedule``."""

    def __init__(self, window: ScheduleWindow) -> None:
        from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415 - 4 MiB that only this mode needs

        self._zone = zone(window.timezone)
        hour = window.start.split()[1]
        self._by_elapsed_time = "*" in hour or "/" in hour
        crontabs = [crontab.split() for crontab in expand_cron(window.start)]
        minutes, hours = (_numbers(field, most) for field, most in zip(crontabs[0], (60, 24), strict=False))
        self._times = sorted(hour * 60 + minute for hour in hours for minute in minutes)
        self._time_set = frozenset(self._times)
        self._dates = [
            CronTrigger(day=day, month=month, day_of_week=weekday, hour=0, minute=0, second=0, timezone=UTC)
            for _, _, day, month, weekday in crontabs
        ]

    def starts(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the moments at which a window opens, from ``since`` to before ``until``, in order; all in UTC."""
        # A start that is skipped is moved to the end of the jump, which may be on the next date.
        first = (since.astimezone(self._zone) - DAY).date()
        last = until.astimezone(self._zone).date()
        found: datetime | None = None
        for day in self._days(first, last):
            for moment in self._starts_on(day):
                if since <= moment < until and moment != found:
                    found = moment
                    yield moment

    def _days(self, first: date, last: date) -> Iterator[date]:
        """Yield the dates of the line, both ends included."""
        day = first
        while True:
            asked = datetime.combine(day, time(), UTC)
            answers = [trigger.get_next_fire_time(None, asked) for trigger in self._dates]
            moments = [answer.date() for answer in answers if answer is not None]
            if not moments or (day := min(moments)) > last:
                return
            yield day
            day += DAY

    def _starts_on(self, day: date) -> list[datetime]:
        """Return the starts of a local date, in order."""
        midnight = datetime.combine(day, time())
        offset = self._constant_offset(midnight)
        if offset is not None:
            base = (midnight - offset).replace(tzinfo=UTC)
            return [base + timedelta(minutes=minute) for minute in self._times]
        if not self._by_elapsed_time:
            return sorted({self._to_utc(midnight + timedelta(minutes=minute)) for minute in self._times})
        return list(self._minutes_that_match(day))

    def _constant_offset(self, midnight: datetime) -> timedelta | None:
        """Return the offset from UTC of a whole local date, None when the clock jumps on it."""
        moments = [midnight + timedelta(hours=hours) for hours in range(0, 25, 3)]
        offsets = {
            moment.replace(tzinfo=self._zone, fold=fold).utcoffset() for moment in moments for fold in (0, 1)
        }
        return offsets.pop() if len(offsets) == 1 else None

    def _to_utc(self, local: datetime) -> datetime:
        """Return when a local time is: the first where it comes twice, the end of the jump where it never comes."""
        moment = local.replace(tzinfo=self._zone).astimezone(UTC)
        if moment.astimezone(self._zone).replace(tzinfo=None) == local:
            return moment
        after = local.replace(tzinfo=self._zone, fold=1).astimezone(UTC)
        low, high = min(moment, after), max(moment, after)
        offset = low.astimezone(self._zone).utcoffset()
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) // 2
            middle = middle.replace(microsecond=0)
            if middle <= low:
                break
            if middle.astimezone(self._zone).utcoffset() == offset:
                low = middle
            else:
                high = middle
        return high

    def _minutes_that_match(self, day: date) -> Iterator[datetime]:
        """Yield each minute there is of a local date whose local time the line names; offsets are whole minutes."""
        moment = datetime.combine(day, time(), UTC) - timedelta(hours=27)
        for _ in range(_MINUTES_A_DAY + 2 * 27 * 60):
            local = moment.astimezone(self._zone)
            if local.date() == day and local.second == 0 and local.hour * 60 + local.minute in self._time_set:
                yield moment
            moment += timedelta(minutes=1)


def _numbers(field: str, most: int) -> list[int]:
    return list(range(most)) if field == "*" else [int(number) for number in field.split(",")]
