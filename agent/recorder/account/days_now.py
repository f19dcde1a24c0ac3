"""The sums of the newest days as they are at this moment, the day that runs included; read, and never written.

The open days come from ``recorder.json``, the gap log and the files that it has not counted yet, the one that is being
written with them. Where no recorder runs, the sums end where the last one ended: what comes after stands in no gap log.
"""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec

from agent.bounds import Sequence
from agent.clock import Instant
from agent.config.schema import LocationConfig, RecordingConfig
from agent.disk import Disk
from agent.gaps.log import Gap
from agent.outbox.files import AUDIO, Files, names
from agent.recorder.account.absence import missed
from agent.recorder.account.daybook import DAY_DECODER, windows_of
from agent.recorder.account.earlier import stretches
from agent.recorder.account.memory import FILE as MEMORY_FILE
from agent.recorder.account.memory import RECORDER_JSON, RecorderJson
from agent.recorder.account.open_days import OpenDays, Rules
from agent.recording.days.dayfile import read_days
from agent.recording.days.days import FILE, Day, day_at, end_of, wall_of
from agent.recording.days.gapsfile import end_of_gap_log, last_gaps
from agent.recording.filename import number_of
from agent.recording.segment import PART
from agent.recording.triggers import Schedule
from agent.small_file import load_or_none
from agent.timing.known_time import KnownTime
from agent.zone import zone

Json = dict[str, Any]


def days_now(
    folder: Path,
    recording: RecordingConfig,
    location: LocationConfig,
    time: KnownTime,
    now: Instant,
    *,
    zone_name: str,
    count: int,
    is_running: bool,
) -> list[Json]:
    """Return the newest days of a state directory, oldest first, as ``Day`` has them and ``until_ms``.

    ``count``: how many days at most, today the last of them. ``until_ms`` is the unix time up to which a day is
    summed up that is not over; None of one that is.
    """
    lines = read_days(folder / FILE, DAY_DECODER)
    remembered = load_or_none(folder / MEMORY_FILE, RECORDER_JSON) or RecorderJson(1)
    account, files = remembered.account, Files(folder, Disk())
    home = zone(zone_name)
    schedule = (
        Schedule(recording, lambda: time.now_ms() / 1000, location) if recording.mode == "schedule" else None
    )
    windows = windows_of(schedule) if schedule is not None else None
    days = OpenDays(folder, account, lines, Rules(time, home, windows), remembered.mode)
    found = stretches(files, since_number=account.counted + 1, recorders=remembered.recording)
    if found or account.since is not None:
        days.recount(found, now)
    since = days.check_clock(now)
    until = now.wall_ms
    if not is_running:
        ends = [*(stretch.ended for stretch in found), *_ends(folder, remembered)]
        until = max((wall_of(time.corrected(end), account.boots) for end in ends), default=0)
    elif found and _is_open(files.recording, account.counted):
        until = wall_of(time.corrected(found[-1].ended), account.boots)
    # By a clock that is not right yet today may lie before what is known already.
    known = map(date.fromisoformat, [*lines, *account.recorded])
    today = max([day_at(now.wall_ms, home), *known])
    wanted = [today - timedelta(days=number) for number in range(count)]
    rows = {day.isoformat(): lines[day.isoformat()] for day in wanted if day.isoformat() in lines}
    if since is not None:
        first, last = day_at(since, home), day_at(until, home)
        anew = {*days.told_anew(end_of_gap_log(folder).size), *days.counted_anew()}
        summed = [
            day
            for day in sorted(wanted)
            if day in anew
            or (day.isoformat() not in rows and (first <= day <= last or day.isoformat() in account.recorded))
        ]
        if summed:
            more = _not_judged_yet(remembered, recording, location, time)
            found_days = days.sums(summed, account.recorded, since, until, more)
            rows |= {day.date: day for day in found_days}
    return [_row(rows[name], until, end_of(date.fromisoformat(name), home)) for name in sorted(rows)]


def _row(day: Day, until: int, end: int) -> Json:
    row: Json = msgspec.to_builtins(day)
    return row | {"until_ms": until if until < end else None}


def _is_open(folder: Path, number: Sequence) -> bool:
    """Return whether the file of a number is being written, or was left when it was."""
    return any(number_of(name) == number for name in names(folder) if name.endswith(AUDIO + PART))


def _ends(folder: Path, remembered: RecorderJson) -> list[Instant]:
    """Return up to when all is known, where no recorder runs: the ends of its last run and of the newest gaps."""
    moments = [remembered.until] if remembered.until is not None else []
    for gap in last_gaps(folder, end_of_gap_log(folder)):
        if gap.end is not None:
            moments.append(gap.end)
        elif gap.recording_id is None:
            moments.append(gap.start.later(gap.milliseconds or 0))
    return moments


def _not_judged_yet(
    remembered: RecorderJson, recording: RecordingConfig, location: LocationConfig, time: KnownTime
) -> list[Gap]:
    """Return what the calendar wanted of absences that stand in no line of the gap log yet."""
    if recording.mode != "schedule":
        return []
    gaps = (missed(absence, recording, time, location) for absence in remembered.absences)
    return [gap for gap in gaps if gap is not None]
