"""What the calendar wanted of an absence, by what is known of its time."""

from pathlib import Path

import pytest
from simulated import SimulatedClock

from agent.clock import NTP, UNSYNCHRONIZED, Instant
from agent.config.schema import RecordingConfig, ScheduleWindow
from agent.disk import Disk
from agent.gaps.log import Cause, GapLog
from agent.gaps.tracker import GapTracker
from agent.outbox.files import Files
from agent.recorder.account.absence import is_certain, missed
from agent.recorder.account.downtime import Downtime
from agent.recorder.account.memory import MOST_ABSENCES, Absence, Memory, absences_of
from agent.recording.days.gapsfile import read_gaps
from agent.timing.known_time import KnownTime

BOOT, OTHER_BOOT = "0a8f5b62-3f0e-4d8e-9a36-0d6c3f3b1a11", "1b9f5b62-3f0e-4d8e-9a36-0d6c3f3b1a22"
NINE = 1_795_770_000_000
"""09:00 UTC on 27 November 2026, in unix milliseconds."""
HOUR = 3_600_000
BY_CALENDAR = RecordingConfig(
    mode="schedule", schedule=(ScheduleWindow(start="0 9 * * *", minutes=60, timezone="UTC"),)
)


def known_time(boot: str = BOOT, machine: str | None = None) -> KnownTime:
    return KnownTime(SimulatedClock(), boot, lambda: machine)


def absence(begin: int, end: int, clock: str = UNSYNCHRONIZED, boot: str = BOOT) -> Absence:
    """Return an absence from some milliseconds after nine to others."""
    return Absence(
        Instant(NINE + begin, BOOT, 10 * HOUR + begin, clock),
        Instant(NINE + end, boot, 10 * HOUR + end, clock),
    )


@pytest.mark.parametrize(
    ("begin", "end", "wanted"), [(-HOUR, 3 * HOUR, HOUR), (1500, 4000, 2500), (HOUR, 2 * HOUR, None)]
)
def test_within_a_boot_the_calendar_tells_by_the_clock_as_it_is(
    begin: int, end: int, wanted: int | None
) -> None:
    """A clock that nobody has set counts right all the same; but it may be set later, so nothing is for good."""
    gap = missed(absence(begin, end), BY_CALENDAR, known_time())
    assert (gap.milliseconds if gap is not None else None) == wanted
    assert not is_certain(absence(begin, end), known_time())
    assert is_certain(absence(begin, end, NTP), known_time())


def test_between_boots_that_cannot_be_compared_the_length_is_unknown() -> None:
    """It is said that something may be missing, and not how much."""
    gap = missed(absence(0, HOUR, boot=OTHER_BOOT), BY_CALENDAR, known_time())
    assert gap is not None
    assert gap.milliseconds is None
    assert gap.end is not None


def test_more_absences_than_are_kept_are_judged_and_not_forgotten(tmp_path: Path) -> None:
    """A recorder that is killed sixty times before its clock is right: each absence is kept, or in the gap log."""
    folder = tmp_path
    for name in ("recording", "outbox", "sent", "damaged"):
        (folder / name).mkdir()
    disk, time, times = Disk(), known_time(), MOST_ABSENCES + 10
    for number in range(times):
        files = Files(folder, disk)
        memory = Memory(folder, disk, files)
        gaps = GapTracker(GapLog(folder, disk), time.elapsed_ms)
        memory.note(absence(number * 1000, 0).since)
        downtime = Downtime(files, memory, time, gaps, BY_CALENDAR)
        downtime.note(absence(number * 1000 + 300, 0).since)
    written = [gap for gap in read_gaps(folder) if gap.cause is Cause.NOT_RUNNING]
    assert len(absences_of(folder)) == MOST_ABSENCES
    assert [gap.milliseconds for gap in written] == [300] * (times - MOST_ABSENCES)
