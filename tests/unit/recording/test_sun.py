"""Windows by the sun: against an almanac, on days on which it stays up or down, and through a year in eight places."""

import random
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from astral import Observer
from astral.sun import elevation

from agent.clock import NTP, UNSYNCHRONIZED, Instant
from agent.config.schema import LocationConfig, RecordingConfig, ScheduleWindow
from agent.config.values import sun_moment
from agent.recording.calendar.lines import Window, stays
from agent.recording.calendar.schedule import Calendar
from agent.recording.calendar.sun import HEIGHTS, Sun
from agent.recording.triggers import Schedule

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NEW_YEAR, NEXT_YEAR = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
BOOT = "0a8f5b62-3f0e-4d8e-9a36-0d6c3f3b1a11"
PLACES = {
    "London": (LocationConfig(latitude=51.5074, longitude=-0.1278), "Europe/London"),
    "Berlin": (LocationConfig(latitude=52.52, longitude=13.405), "Europe/Berlin"),
    "Quito": (LocationConfig(latitude=-0.1807, longitude=-78.4678), "America/Guayaquil"),
    "Nairobi": (LocationConfig(latitude=-1.2921, longitude=36.8219), "Africa/Nairobi"),
    "Hammerfest": (LocationConfig(latitude=70.6634, longitude=23.6821), "Europe/Oslo"),
    "Auckland": (LocationConfig(latitude=-36.8485, longitude=174.7633), "Pacific/Auckland"),
    "Honolulu": (LocationConfig(latitude=21.3069, longitude=-157.8583), "Pacific/Honolulu"),
    "Ushuaia": (LocationConfig(latitude=-54.8019, longitude=-68.303), "America/Argentina/Ushuaia"),
}
ALMANAC = """
London    2026-03-20  03-20T05:30  03-20T06:03  03-20T18:13  03-20T18:47
London    2026-06-21  06-21T02:55  06-21T03:43  06-21T20:22  06-21T21:09
London    2026-09-23  09-23T05:15  09-23T05:48  09-23T17:57  09-23T18:30
London    2026-12-21  12-21T07:23  12-21T08:04  12-21T15:53  12-21T16:34
Berlin    2026-03-20  03-20T04:35  03-20T05:09  03-20T17:19  03-20T17:54
Berlin    2026-06-21  06-21T01:53  06-21T02:43  06-21T19:33  06-21T20:24
Berlin    2026-09-23  09-23T04:20  09-23T04:54  09-23T17:03  09-23T17:37
Berlin    2026-12-21  12-21T06:33  12-21T07:15  12-21T14:54  12-21T15:36
Quito     2026-03-20  03-20T10:57  03-20T11:18  03-20T23:24  03-20T23:45
Quito     2026-06-21  06-21T10:50  06-21T11:12  06-21T23:19  06-21T23:42
Quito     2026-09-23  09-23T10:42  09-23T11:03  09-23T23:09  09-23T23:30
Quito     2026-12-21  12-21T10:45  12-21T11:08  12-21T23:16  12-21T23:39
Nairobi   2026-03-20  03-20T03:16  03-20T03:37  03-20T15:43  03-20T16:04
Nairobi   2026-06-21  06-21T03:11  06-21T03:33  06-21T15:36  06-21T15:58
Nairobi   2026-09-23  09-23T03:01  09-23T03:22  09-23T15:28  09-23T15:49
Nairobi   2026-12-21  12-21T03:02  12-21T03:25  12-21T15:37  12-21T15:59
Hammerfest 2026-03-20  03-20T03:21  03-20T04:25  03-20T16:43  03-20T17:47
Hammerfest 2026-06-21  up           up           up           up
Hammerfest 2026-09-23  09-23T03:05  09-23T04:08  09-23T16:25  09-23T17:28
Hammerfest 2026-12-21  12-21T08:35  down         down         12-21T12:11
Auckland  2026-03-20  03-19T17:58  03-19T18:23  03-20T06:33  03-20T06:59
Auckland  2026-06-21  06-20T19:05  06-20T19:34  06-21T05:12  06-21T05:41
Auckland  2026-09-23  09-22T17:44  09-22T18:10  09-23T06:18  09-23T06:44
Auckland  2026-12-21  12-20T16:27  12-20T16:58  12-21T07:40  12-21T08:10
Honolulu  2026-03-20  03-20T16:13  03-20T16:35  03-21T04:43  03-21T05:05
Honolulu  2026-06-21  06-21T15:26  06-21T15:50  06-22T05:16  06-22T05:41
Honolulu  2026-09-23  09-23T15:58  09-23T16:21  09-24T04:26  09-24T04:49
Honolulu  2026-12-21  12-21T16:40  12-21T17:05  12-22T03:55  12-22T04:19
Ushuaia   2026-03-20  03-20T09:58  03-20T10:35  03-20T22:46  03-20T23:21
Ushuaia   2026-06-21  06-21T12:14  06-21T12:59  06-21T20:11  06-21T20:57
Ushuaia   2026-09-23  09-23T09:43  09-23T10:19  09-23T22:33  09-23T23:09
Ushuaia   2026-12-21  12-21T06:54  12-21T07:51  12-22T01:11  12-22T02:09
"""
"""Dawn, sunrise, sunset and dusk in UTC, to the minute: VSOP87 (libastro), the centre at -50' and -6 degrees."""
ROWS = [line.split() for line in ALMANAC.strip().splitlines()]


def window(**keys: object) -> ScheduleWindow:
    return ScheduleWindow(**{"timezone": "UTC", **keys})  # type: ignore[arg-type] # what the test means


def calendar(place: str, **keys: object) -> Calendar:
    return Calendar([window(timezone=PLACES[place][1], **keys)], PLACES[place][0])


def of_the_year(place: str, **keys: object) -> list[tuple[datetime, datetime]]:
    """Return the windows of a year, found as the recorder finds them: asked again at each change."""
    asked = calendar(place, **keys)
    found: list[tuple[datetime, datetime]] = []
    now = NEW_YEAR
    while now < NEXT_YEAR:
        opening = asked.open_at(now)
        if opening is not None and (opening.opened_at, opening.closes_at) not in found[-3:]:
            found.append((opening.opened_at, opening.closes_at))
        later = asked.next_change(now)
        assert now < later <= now + DAY
        now = later
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_the_almanac_agrees_to_the_minute(row: list[str]) -> None:
    """Eight places, four days: the solstices and equinoxes, the midnight sun and the polar night among them."""
    place, day, *moments = row
    location = PLACES[place][0]
    sun = Sun(location.latitude, location.longitude)
    for name, moment in zip(("dawn", "sunrise", "sunset", "dusk"), moments, strict=True):
        at = sun.at(name, date.fromisoformat(day))
        if moment in {"up", "down"}:
            assert at is None
            assert sun.is_up(name, date.fromisoformat(day)) == (moment == "up")
        else:
            assert at is not None
            assert abs(at - datetime.fromisoformat(f"2026-{moment}+00:00")) <= MINUTE, (name, at, moment)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("start", "end"), [("sunrise", "sunset"), ("dusk", "dawn")])
def test_a_window_is_open_while_the_sun_is_where_it_says(place: str, start: str, end: str) -> None:
    """At random moments of a year, by the height of the sun itself: midnight sun and polar night come out too."""
    rng = random.Random(seed := random.SystemRandom().getrandbits(32))
    location = PLACES[place][0]
    here = Observer(location.latitude, location.longitude)
    asked = calendar(place, start=start, end=end)
    for _ in range(300):
        moment = NEW_YEAR + timedelta(seconds=rng.randrange(365 * 86_400))
        above = elevation(here, moment, with_refraction=False) - HEIGHTS[start]
        if abs(above) > 0.3:
            assert (asked.open_at(moment) is not None) == ((above > 0) == (start == "sunrise")), (
                seed,
                moment,
            )


@pytest.mark.parametrize("place", PLACES)
def test_a_year_has_every_window_once(place: str) -> None:
    """No day lost or doubled, at the changes of summer time neither; a week that is looked back at has the same."""
    by_day = of_the_year(place, start="sunrise-30m", minutes=90)
    sunrises = [begin + 30 * MINUTE + timedelta(days=PLACES[place][0].longitude / 360) for begin, _ in by_day]
    assert len({moment.date() for moment in sunrises}) == len(by_day) == len(set(by_day))
    if place != "Hammerfest":
        assert len(by_day) in {365, 366}
    zone = ZoneInfo(PLACES[place][1])
    nightly = of_the_year(place, start="0 21 * * *", end="sunrise+6h")
    opened = [begin.astimezone(zone) for begin, _ in nightly]
    if place != "Hammerfest":
        assert {moment.strftime("%H:%M") for moment in opened} == {"21:00"}
        assert {after.date() - before.date() for before, after in pairwise(opened)} == {DAY}
        assert len(opened) in {365, 366}
    since = NEW_YEAR + 80 * DAY
    back = calendar(place, start="sunrise-30m", minutes=90).between(since, since + 7 * DAY)
    assert set(back[1:-1]) <= set(by_day)
    assert len(back) >= (0 if place == "Hammerfest" else 7)


def test_days_without_sunrise_or_sunset() -> None:
    """From sunrise to sunset: all of a day of midnight sun, nothing of the polar night; and it is said."""
    june, december = datetime(2026, 6, 21, 6, tzinfo=UTC), datetime(2026, 12, 21, 6, tzinfo=UTC)
    status_led = calendar("Hammerfest", start="sunrise-1h", end="sunset+1h")
    night = calendar("Hammerfest", start="sunset", end="sunrise")
    assert status_led.between(june, june + DAY) == [Window(june, june + DAY)]
    assert night.between(june, june + DAY) == []
    assert status_led.between(december, december + DAY) == []
    assert night.between(december, december + DAY) == [Window(december, december + DAY)]
    assert calendar("Hammerfest", start="sunrise", minutes=60).between(june, june + DAY) == []
    until_dark = calendar("Hammerfest", start="0 9 * * *", end="sunset").between(june, june + DAY)
    assert until_dark[0].begin == datetime(2026, 6, 21, 7, tzinfo=UTC)
    assert HOUR < until_dark[0].end - until_dark[0].begin < 16 * HOUR
    lines = (window(start="sunrise", end="sunset"),)
    assert stays(lines, PLACES["Hammerfest"][0], june) == [
        "there is no sunrise on 2026-06-21: the sun stays up",
        "there is no sunset on 2026-06-21: the sun stays up",
    ]
    assert stays(lines, PLACES["Berlin"][0], june) == []


def test_a_duty_cycle_records_part_of_a_window() -> None:
    """Five minutes of each fifteen, from the window's begin on; the last is cut by its end."""
    asked = calendar("Berlin", start="0 9 * * *", minutes=32, record_minutes=5, every_minutes=15)
    nine = datetime(2026, 3, 2, 8, tzinfo=UTC)
    wanted = [Window(nine + m * MINUTE, nine + (m + n) * MINUTE) for m, n in ((0, 5), (15, 5), (30, 2))]
    assert asked.between(nine - HOUR, nine + HOUR) == wanted
    assert asked.open_at(nine + 4.9 * MINUTE) is not None
    assert asked.open_at(nine + 5 * MINUTE) is None
    assert asked.next_change(nine + 6 * MINUTE) == nine + 15 * MINUTE
    assert asked.between(nine + 3 * MINUTE, nine + 16 * MINUTE) == [
        Window(nine + 3 * MINUTE, nine + 5 * MINUTE),
        Window(nine + 15 * MINUTE, nine + 16 * MINUTE),
    ]


def test_while_the_clock_is_not_right_windows_by_the_sun_are_open() -> None:
    """Better too much: nobody can tell whether the sun shines; what is missing then is missing in full."""
    is_right, now = [False], datetime(2026, 6, 21, 0, 30, tzinfo=UTC).timestamp()
    settings = RecordingConfig(mode="schedule", schedule=(window(start="sunrise", end="sunset"),))
    asked = Schedule(settings, lambda: now, PLACES["Berlin"][0], lambda: is_right[0])
    by_cron = RecordingConfig(mode="schedule", schedule=(window(start="0 9 * * *", minutes=60),))
    assert asked.spec() is not None
    assert Schedule(by_cron, lambda: now, PLACES["Berlin"][0], lambda: False).spec() is None
    is_right[0] = True
    assert asked.spec() is None
    begin = round(now * 1000)
    for clock, wanted in ((UNSYNCHRONIZED, 60_000), (NTP, 0)):
        ends = [Instant(begin + at, BOOT, at, clock) for at in (0, 60_000)]
        assert asked.wanted_ms(*ends) == wanted


@pytest.mark.parametrize(
    ("text", "minutes"), [("sunrise", 0), ("Sunset+1h", 60), ("dawn-90m", -90), (" dusk+1h30m ", 90)]
)
def test_how_a_moment_is_written(text: str, minutes: int) -> None:
    """A name, and at most half a day before or after it."""
    found = sun_moment(text)
    assert found is not None
    assert found.offset == minutes * MINUTE


@pytest.mark.parametrize(
    "text", ["sun", "sunrise+", "sunrise30m", "sunset+13h", "dusk-1d", "noon", "0 9 * * *"]
)
def test_what_is_no_moment(text: str) -> None:
    """None for what is written otherwise."""
    assert sun_moment(text) is None


def test_a_year_is_looked_back_at_within_a_budget() -> None:
    """The gap log asks for as much after a year in a drawer; a minute on and off costs no more than it must."""
    import time

    began = time.process_time()
    calendar("Berlin", start="dawn", end="dusk").between(NEW_YEAR, NEXT_YEAR)
    assert time.process_time() - began < 1.5
