"""Absences of a recorder that goes by the calendar: how much of one was wanted, by what is known of its time."""

from datetime import UTC, datetime, timedelta

from agent.clock import UNSYNCHRONIZED, Instant
from agent.config.schema import NOWHERE, LocationConfig, RecordingConfig
from agent.gaps.log import Cause, Gap
from agent.recorder.account.memory import Absence
from agent.recording.calendar.schedule import Calendar
from agent.timing.known_time import KnownTime


def is_certain(absence: Absence, time: KnownTime) -> bool:
    """Return whether the wall times of both ends are right, so that the calendar can tell for good."""
    return all(time.corrected(end).clock != UNSYNCHRONIZED for end in (absence.since, absence.until))


def missed(
    absence: Absence, settings: RecordingConfig, time: KnownTime, location: LocationConfig = NOWHERE
) -> Gap | None:
    """Return what the calendar wanted of an absence, by the clocks as they are known now; None: nothing.

    Between two boots of which one's time is unknown its length is unknown too.
    """
    since, until = time.corrected(absence.since), time.corrected(absence.until)
    length_ms = time.elapsed_ms(since, until)
    if length_ms is None:
        return Gap(Cause.NOT_RUNNING, since, until)
    begin = datetime.fromtimestamp(since.wall_ms / 1000, tz=UTC)
    windows = Calendar(settings.schedule, location).between(begin, begin + timedelta(milliseconds=length_ms))
    if not windows:
        return None
    wanted = sum((window.end - window.begin for window in windows), timedelta())
    return Gap(Cause.NOT_RUNNING, _at(since, windows[0].begin), until, round(wanted.total_seconds() * 1000))


def _at(near: Instant, moment: datetime) -> Instant:
    """Return a moment of the calendar on the clocks of an instant nearby."""
    wall_ms = round(moment.timestamp() * 1000)
    return Instant(wall_ms, near.boot_id, max(0, near.boot_ms + wall_ms - near.wall_ms), near.clock)
