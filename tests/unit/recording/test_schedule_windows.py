"""The calendar's windows: across changes of daylight saving time, and under a wall clock that jumps."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from recording_setup import RecordingSetup
from simulated import RATE, Script, ScriptedSource

from agent.config.schema import RecordingConfig, ScheduleWindow
from agent.recording.recorder import Recorder
from agent.recording.triggers import Schedule

BERLIN = "Europe/Berlin"


def schedule(*windows: tuple[str, int], timezone: str = BERLIN) -> RecordingConfig:
    return RecordingConfig(
        mode="schedule",
        segment_seconds=600,
        schedule=tuple(
            ScheduleWindow(start=start, minutes=minutes, timezone=timezone) for start, minutes in windows
        ),
    )


def asker(settings: RecordingConfig) -> Callable[[str], bool]:
    """Return a function that says whether a UTC time lies in a window."""
    now = 0.0
    trigger = Schedule(settings, lambda: now)

    def is_open(moment: str) -> bool:
        nonlocal now
        now = datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
        return trigger.spec() is not None

    return is_open


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-01-05T07:59:59", False),  # winter: 9:00 in Berlin is 8:00 UTC
        ("2026-01-05T08:00:00", True),
        ("2026-01-05T15:59:59", True),
        ("2026-01-05T16:00:00", False),
        ("2026-07-06T06:59:59", False),  # summer: 7:00 UTC
        ("2026-07-06T07:00:00", True),
        ("2026-07-06T15:00:00", False),
        ("2026-07-04T09:00:00", False),  # a Saturday
    ],
)
def test_a_window_follows_local_time(moment: str, expected: bool) -> None:
    """Monday to Friday from nine for eight hours, in winter and in summer time, to the second."""
    assert asker(schedule(("0 9 * * mon-fri", 480)))(moment) is expected


def test_a_night_in_which_the_clock_changes_keeps_its_length() -> None:
    """A window of four hours from 1:00 lasts four hours, when an hour is left out and when one comes twice."""
    is_open = asker(schedule(("0 1 * * *", 240)))
    # 2026-03-29 01:00 CET is 00:00 UTC; 2026-10-25 01:00 CEST is 23:00 UTC of the day before.
    assert [is_open(m) for m in ("2026-03-29T00:00:00", "2026-03-29T03:59:59", "2026-03-29T04:00:00")] == [
        True,
        True,
        False,
    ]
    assert [is_open(m) for m in ("2026-10-24T23:00:00", "2026-10-25T02:59:59", "2026-10-25T03:00:00")] == [
        True,
        True,
        False,
    ]


def test_the_clock_may_jump_into_and_out_of_a_window(tmp_path: Path) -> None:
    """A jump of years into a window begins a recording within seconds, one back ends it; nothing else is recorded."""
    setup = RecordingSetup(tmp_path, schedule(("0 9 * * *", 60), timezone="UTC"))
    ahead = 5 * 365 * 86_400 + 9.5 * 3600

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(30)
        setup.clock.step(-ahead)
        setup.clock.after(100, recorder.stop)
        yield from source.sound(30)

    setup.clock.after(50, lambda: setup.clock.step(ahead))
    setup.record(script)

    (entry,) = setup.entries
    assert entry.samples / RATE == pytest.approx(30, abs=0.15)
    assert entry.mode == "schedule"
    assert setup.missing() == 0
    assert entry.started.boot_ms / 1000 == pytest.approx(1050, abs=2)


def test_a_recording_ends_with_its_window(tmp_path: Path) -> None:
    """Two windows of a minute are two sessions; each begins and ends within a second or a block of its time."""
    setup = RecordingSetup(tmp_path, schedule(("5 0 * * *", 1), ("10 0 * * *", 1), timezone="UTC"))

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        del recorder
        yield from source.sound(200)

    setup.clock.after(900, lambda: setup.recorder.stop())  # noqa: PLW0108 - it is made later
    setup.record(script)

    assert [entry.samples / RATE for entry in setup.entries] == [pytest.approx(60, abs=1.2)] * 2
    assert len({entry.session_id for entry in setup.entries}) == 2


def test_windows_missed_while_off_are_found_and_merged() -> None:
    """Downtime is counted only where a window was open: two days of an hour each, the second one cut short."""
    settings = RecordingConfig(
        mode="schedule",
        schedule=(
            ScheduleWindow(start="0 9 * * *", minutes=60, timezone="UTC"),
            ScheduleWindow(start="30 9 * * *", minutes=30, timezone="UTC"),
        ),
    )
    day = datetime(2026, 3, 2, tzinfo=UTC)
    found = Schedule(settings, lambda: 0.0).windows_between(
        day + timedelta(hours=9, minutes=15), day + timedelta(days=1, hours=9, minutes=10)
    )
    assert found == [
        (day + timedelta(hours=9, minutes=15), day + timedelta(hours=10)),
        (day + timedelta(days=1, hours=9), day + timedelta(days=1, hours=9, minutes=10)),
    ]
