"""The calendar against cron's rule, minute by minute, in every zone and across its jumps."""

import random
import time
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from agent.config.schema import ScheduleWindow
from agent.recording.calendar.cron_line import CronStarts
from agent.recording.calendar.schedule import Calendar

BERLIN = "Europe/Berlin"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
YEARS = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 12, 31, tzinfo=UTC))
BUDGET_SECONDS = 1.5
"""For the worst computation on a busy machine of the tests; on an idle one it takes a twentieth."""


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def line(start: str, minutes: int = 30, timezone: str = BERLIN) -> ScheduleWindow:
    return ScheduleWindow(start=start, minutes=minutes, timezone=timezone)


# an independent evaluation: cron(8) as it walks through the minutes


def _matches(field: str, value: int, lowest: int) -> bool:
    for part in field.split(","):
        body, _, step = part.partition("/")
        first, _, last = body.partition("-")
        low = lowest if body == "*" else int(first)
        high = 10_000 if body == "*" or (step and not last) else int(last or first)
        if low <= value <= high and (value - low) % int(step or 1) == 0:
            return True
    return False


def _runs_at(fields: list[str], local: datetime) -> bool:
    """Whether a line names a local minute: day or weekday, where both are restricted."""
    minute, hour, day, month, weekday = fields
    if not (
        _matches(minute, local.minute, 0)
        and _matches(hour, local.hour, 0)
        and _matches(month, local.month, 1)
    ):
        return False
    number = local.isoweekday() % 7
    by_day = _matches(day, local.day, 1)
    by_weekday = _matches(weekday, number, 0) or (number == 0 and _matches(weekday, 7, 0))
    if day.startswith("*") or weekday.startswith("*"):
        return by_day and by_weekday
    return by_day or by_weekday


def cron(start: str, zone: ZoneInfo, since: datetime, until: datetime) -> Iterator[datetime]:
    """Yield when a cron daemon that has always run starts a line: jumps as the rule of crontab(5) has them."""
    fields = start.split()
    wildcard = "*" in fields[1] or "/" in fields[1]
    now = since - 2 * DAY
    furthest = now.astimezone(zone).replace(tzinfo=None)
    while now < until:
        local = now.astimezone(zone).replace(tzinfo=None)
        if wildcard:
            run = _runs_at(fields, local)
        else:
            run = local > furthest and any(
                _runs_at(fields, furthest + (number + 1) * MINUTE)
                for number in range((local - furthest) // MINUTE)
            )
        furthest = max(furthest, local)
        if run and now >= since:
            yield now
        now += MINUTE


def _kinds_of_zones() -> dict[tuple[tuple[int, timedelta | None], ...], str]:
    """Return one zone for each behaviour in the two years."""
    hours = int((YEARS[1] - YEARS[0]) / HOUR)
    kinds: dict[tuple[tuple[int, timedelta | None], ...], str] = {}
    for name in sorted(zoneinfo.available_timezones() - {"localtime", "posixrules", "Factory"}):
        zone = ZoneInfo(name)
        changes: list[tuple[int, timedelta | None]] = []
        before: timedelta | None = None
        for hour in range(0, hours, 6):
            offset = (YEARS[0] + hour * HOUR).astimezone(zone).utcoffset()
            if offset != before:
                changes.append((hour, offset))
                before = offset
        kinds.setdefault(tuple(changes), name)
    return kinds


def _random_line(rng: random.Random) -> str:
    minute = rng.choice(["*", "0", "30", "*/10", "15,45", "59", str(rng.randrange(60))])
    hour = rng.choice(["*", "*/2", "1-5/2", "0", "1", "2", "3", "23", "0-4", "1,2,3", str(rng.randrange(24))])
    day = rng.choice(["*", "*", "*", "1-15", "*/2", "25,29"])
    month = rng.choice(["*", "*", "3,4,10,11", "1-12"])
    weekday = rng.choice(["*", "*", "*", "0", "7", "1-5", "0,6"])
    return f"{minute} {hour} {day} {month} {weekday}"


def test_every_zone_agrees_with_cron_minute_by_minute() -> None:
    """Around each jump of two years, in one zone of each kind there is, for lines drawn at random."""
    seed = random.SystemRandom().getrandbits(32)
    rng = random.Random(seed)
    kinds = _kinds_of_zones()
    checked = 0
    for changes, name in kinds.items():
        zone = ZoneInfo(name)
        jumps = [YEARS[0] + hour * HOUR for hour, _ in changes[1:4]] or [YEARS[0] + 40 * DAY]
        for jump in jumps:
            since, until = jump - 18 * HOUR, jump + 18 * HOUR
            start = _random_line(rng)
            found = list(CronStarts(line(start, 1, name)).starts(since, until))
            wanted = list(cron(start, zone, since, until))
            assert found == wanted, (seed, name, start, set(found) ^ set(wanted))
            checked += len(wanted)
    print(f"\n{len(kinds)} kinds of zones, {checked} starts, seed {seed}")
    assert checked > 1000


@pytest.mark.parametrize(
    ("start", "minutes", "since", "until", "wanted"),
    [
        ("30 2 * * *", 30, "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00", ["2026-03-29T03:00+02:00"]),
        ("30 2 * * *", 30, "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00", ["2026-10-25T02:30+02:00"]),
        ("0,30 2 * * *", 30, "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00", ["2026-03-29T03:00+02:00"]),
        ("30 * * * *", 5, "2026-10-25T02:00+02:00", "2026-10-25T03:00+01:00",
         ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00"]),
        ("30 */2 * * *", 5, "2026-03-29T01:00+01:00", "2026-03-29T06:00+02:00", ["2026-03-29T04:30+02:00"]),
        ("0 9 * * 0", 5, "2026-03-02T00:00+01:00", "2026-03-09T00:00+01:00", ["2026-03-08T09:00+01:00"]),
        ("0 9 * * 7", 5, "2026-03-02T00:00+01:00", "2026-03-09T00:00+01:00", ["2026-03-08T09:00+01:00"]),
    ],
)  # fmt: skip
def test_the_rule_at_the_jumps(start: str, minutes: int, since: str, until: str, wanted: list[str]) -> None:
    """Skipped: right after the jump, once. Twice: once. By elapsed time: in every hour that there is."""
    found = list(CronStarts(line(start, minutes)).starts(utc(since), utc(until)))
    assert found == [utc(moment) for moment in wanted]


def total(windows: list[ScheduleWindow], since: str, until: str) -> float:
    stretches = Calendar(windows).between(utc(since), utc(until))
    return sum((each.end - each.begin for each in stretches), timedelta()) / MINUTE


@pytest.mark.parametrize(
    ("start", "minutes", "day", "next_day", "missed"),
    [
        ("0 1 * * *", 240, "2027-03-28T00:00+01:00", "2027-03-29T00:00+02:00", 240),
        ("0 1 * * *", 240, "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00", 240),
        ("30 2 * * *", 30, "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00", 30),
        ("30 2 * * *", 30, "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00", 30),
        ("* * * * *", 1, "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00", 25 * 60),
        ("* * * * *", 1, "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00", 23 * 60),
    ],
)
def test_what_was_missed_is_elapsed_time(
    start: str, minutes: int, day: str, next_day: str, missed: int
) -> None:
    """A day of 23 or 25 hours costs what lay in it."""
    assert total([line(start, minutes)], day, next_day) == missed


def test_looking_back_and_now_agree() -> None:
    """The stretches of a month are exactly the minutes in which a window is open."""
    rng = random.Random(4)
    for _ in range(3):
        calendar = Calendar([line(_random_line(rng), rng.choice([1, 7, 90])) for _ in range(2)])
        since, until = utc("2026-10-24T00:00+02:00"), utc("2026-10-27T00:00+01:00")
        stretches = calendar.between(since, until)
        moment = since
        while moment < until:
            is_inside = any(begin <= moment < end for begin, end in stretches)
            assert (calendar.open_at(moment) is not None) == is_inside, moment
            moment += 13 * MINUTE


def test_nothing_changes_before_the_next_change() -> None:
    """Between a moment and its next change the same window is open."""
    rng = random.Random(5)
    calendar = Calendar([line("30 2 * * *", 90), line("*/20 1-3 * * *", 7)])
    moment = utc("2026-10-24T12:00+02:00")
    while moment < utc("2026-10-26T12:00+01:00"):
        change = calendar.next_change(moment)
        assert timedelta(0) < change - moment <= DAY
        here = calendar.open_at(moment)
        between = moment + (change - moment) * rng.random()
        assert calendar.open_at(between.replace(microsecond=0)) == here
        assert calendar.open_at(change - timedelta(seconds=1)) == here
        moment = change


@pytest.mark.parametrize("years", [0.25, 1, 30])
def test_a_long_absence_is_computed_within_a_budget(years: float) -> None:
    """One minute in ten: ninety days, a year and thirty years back take no longer than a year does."""
    until = utc("2026-11-27T12:00+01:00")
    began = time.thread_time()
    stretches = Calendar([line("*/10 * * * *", 1)]).between(until - timedelta(days=365 * years), until)
    took = time.thread_time() - began
    assert took < BUDGET_SECONDS
    days = min(365 * years, 366)
    assert sum((end - begin for begin, end in stretches), timedelta()) / MINUTE == pytest.approx(
        days * 144, abs=2
    )


def test_the_next_windows() -> None:
    """The one that is open now first; rare ones are found; where none is ever due, none is claimed."""
    now = utc("2026-11-27T12:00+01:00")
    calendar = Calendar([line("0 9 * * mon-fri", 480)])
    assert [each.begin for each in calendar.upcoming(now)] == [
        utc("2026-11-27T09:00+01:00"),
        utc("2026-11-30T09:00+01:00"),
        utc("2026-12-01T09:00+01:00"),
    ]
    leap = Calendar([line("0 0 29 2 *", 10)]).upcoming(now)
    assert leap[0].begin == utc("2028-02-29T00:00+01:00")
    began = time.thread_time()
    Calendar([line("0 0 29 2 *", 10), line("30 2 * * *", 5)]).upcoming(now)
    assert time.thread_time() - began < BUDGET_SECONDS


def test_started_on_the_day_of_the_change() -> None:
    """A line that is skipped or doubled later in the year costs nothing at the start: every question ends."""
    calendar = Calendar([line("30 2 * * *", 30)])
    for moment in ("2026-03-29T01:59+01:00", "2026-10-25T02:59+02:00", "2026-11-27T12:00+01:00"):
        now = utc(moment)
        assert calendar.between(now - 400 * DAY, now)
        assert calendar.next_change(now) > now
        assert len(calendar.upcoming(now)) == 3
