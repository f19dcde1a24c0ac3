"""The owner's off-peak hours: zones, midnight, and the two days a year that are not 24 hours long."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from agent.config.schema import OffPeakHours, SyncConfig
from agent.host.battery import Battery
from agent.sync.rules.off_peak import OffPeak
from agent.sync.rules.owner_rules import LOW_BATTERY, OFF_PEAK, Rules

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, *, fold: int = 0) -> float:
    """Return a moment of Berlin's clocks as unix seconds."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


def hours(start: str, end: str, timezone: str = "Europe/Berlin") -> OffPeak:
    """Return the hours."""
    return OffPeak(OffPeakHours(start=start, end=end, timezone=timezone))


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-06-10T01:59:59", "2026-06-10T02:00:00"),
        ("2026-06-10T02:00:00", None),
        ("2026-06-10T05:59:59", None),
        ("2026-06-10T06:00:00", "2026-06-11T02:00:00"),
    ],
)
def test_hours_within_a_day(now: str, opens: str | None) -> None:
    """The start belongs to the hours, the end does not, and the next start is named."""
    assert hours("02:00", "06:00").opens_at(at(now)) == (at(opens) if opens else None)


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-06-10T21:00:00", "2026-06-10T22:00:00"),
        ("2026-06-10T23:59:59", None),
        ("2026-06-11T00:30:00", None),
        ("2026-06-11T06:00:00", "2026-06-11T22:00:00"),
    ],
)
def test_hours_past_midnight(now: str, opens: str | None) -> None:
    """An end before the start is on the next day."""
    assert hours("22:00", "06:00").opens_at(at(now)) == (at(opens) if opens else None)


def test_the_zone_counts_and_not_the_machine() -> None:
    """02:00 in Kathmandu is 20:15 UTC of the day before."""
    opening = hours("02:00", "06:00", "Asia/Kathmandu").opens_at(
        datetime(2026, 6, 10, 12, tzinfo=UTC).timestamp()
    )
    assert opening == datetime(2026, 6, 10, 20, 15, tzinfo=UTC).timestamp()


def test_a_start_that_is_skipped_in_spring() -> None:
    """Where the clocks go from 02:00 to 03:00 a start at 02:30 is at 03:00, and the hours last until their end."""
    spring = hours("02:30", "04:00")
    assert spring.opens_at(at("2026-03-29T01:00:00")) == at("2026-03-29T03:00:00")
    assert spring.opens_at(at("2026-03-29T03:59:59")) is None
    assert spring.opens_at(at("2026-03-29T04:00:00")) == at("2026-03-30T02:30:00")


def test_an_hour_that_comes_twice_in_autumn() -> None:
    """Where the clocks go back from 03:00 to 02:00 the hours from 02:00 to 03:00 last for two hours."""
    autumn = hours("02:00", "03:00")
    assert autumn.opens_at(at("2026-10-25T02:30:00")) is None
    assert autumn.opens_at(at("2026-10-25T02:30:00", fold=1)) is None
    assert autumn.opens_at(at("2026-10-25T03:00:00")) == at("2026-10-26T02:00:00")


def test_a_clock_that_is_set_back_is_judged_anew() -> None:
    """The opening that was found is not kept for a time that lies before it was looked for."""
    window = hours("02:00", "06:00")
    assert window.opens_at(at("2026-06-10T12:00:00")) == at("2026-06-11T02:00:00")
    assert window.opens_at(at("2026-06-10T03:00:00")) is None
    assert window.opens_at(at("2026-06-09T12:00:00")) == at("2026-06-10T02:00:00")


@pytest.mark.parametrize(("start", "end", "part"), [("02:00", "08:00", 0.25), ("22:00", "04:00", 0.25)])
def test_the_part_of_a_day(start: str, end: str, part: float) -> None:
    """How much of a day may be used is known, past midnight too."""
    assert hours(start, end).part_of_the_day == part


NIGHT = OffPeakHours(start="02:00", end="06:00", timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("settings", "now", "battery", "expected"),
    [
        (SyncConfig(off_peak_hours=NIGHT), "2026-06-10T01:00:00", None, OFF_PEAK),
        (SyncConfig(off_peak_hours=NIGHT), "2026-06-10T03:00:00", None, None),
        (SyncConfig(), "2026-06-10T01:00:00", Battery(20, charging=False), LOW_BATTERY),
        (SyncConfig(), "2026-06-10T01:00:00", Battery(21, charging=False), None),
        (SyncConfig(), "2026-06-10T01:00:00", Battery(5, charging=True), None),
        (SyncConfig(pause_on_low_battery=False), "2026-06-10T01:00:00", Battery(5, charging=False), None),
        (
            SyncConfig(low_battery_threshold_percent=50),
            "2026-06-10T01:00:00",
            Battery(50, charging=False),
            LOW_BATTERY,
        ),
        (SyncConfig(), "2026-06-10T01:00:00", None, None),
    ],
)
def test_what_the_rules_say(
    settings: SyncConfig, now: str, battery: Battery | None, expected: str | None
) -> None:
    """Off-peak hours name their start; a low battery holds recordings back unless something charges it."""
    obstacle = Rules(settings, lambda: at(now), lambda: battery).obstacle()
    if expected == OFF_PEAK:
        assert obstacle is not None
        assert obstacle.waiting.until_ms == round(at("2026-06-10T02:00:00") * 1000)
    assert (obstacle.waiting.reason if obstacle else None) == expected
