"""The sums of days of a simulated life, against its files and its gap log as they are at its end."""

import random
from collections import Counter
from typing import TYPE_CHECKING

from simulated_machine import BEGINNING_MS
from simulated_verdict import spans_of

from agent.bounds import MOST_DAYS
from agent.config.schema import NOWHERE
from agent.gaps.log import Gap
from agent.recorder.account.daybook import DAY_DECODER
from agent.recorder.account.days_now import days_now
from agent.recording.days.dayfile import read_days
from agent.recording.days.days import FILE, Day, is_inside, split
from agent.recording.days.gapsfile import read_gaps

if TYPE_CHECKING:
    from simulated_life import Life

A_BOUNDARY_MS = 10
"""By so much may a midnight be off: each moment is read off two clocks in whole milliseconds."""


def zone_near_midnight(rng: random.Random) -> str:
    """Return the name of a zone in which a day ends some seconds, minutes or hours after a life begins."""
    left = rng.choice([rng.randint(0, 60), rng.randint(0, 600), rng.randint(0, 6000)])
    east = (86_400 - left - BEGINNING_MS // 1000) % 86_400
    return f"posix:ABC-{east // 3600}:{east // 60 % 60:02d}:{east % 60:02d}"


def day_faults(life: "Life") -> list[str]:
    """Return where the lines of days and the files and gaps at the end disagree.

    What was recorded is exact in every life. Of a boot whose time was never known nobody can tell the day, nor the
    length of an absence beside it: what is missing is judged in the other lives, in all to the millisecond, and for
    each day as far as the millisecond of its midnight can be told.
    """
    days = read_days(life.folder / FILE, DAY_DECODER)
    if life.first_start is None:
        return []
    files = [span for span in spans_of(life) if span.what.startswith("file")]
    faults = [
        *_differ("all files", _files_ms(life, days), sum(span.said for span in files)),
    ]
    gaps = [gap for gap in read_gaps(life.folder) if not is_inside(gap)]
    known = set(life.memory.account.boots) | {
        boot for boot, clock in life.boots.items() if clock.is_right_always
    }
    if set(life.boots) - known or any(gap.milliseconds is None for gap in gaps):
        return faults
    missing = {name: sum(day.missing_ms.values()) - day.silence_ms for name, day in days.items()}
    faults += _differ("all gaps", sum(missing.values()), sum(gap.milliseconds or 0 for gap in gaps))
    recorded: Counter[str] = Counter()
    for span in files:
        recorded.update(
            dict(split(BEGINNING_MS + span.begin, BEGINNING_MS + span.begin + span.said, life.zone))
        )
    for name in {*recorded, *days}:
        said = days[name].files_ms if name in days else 0
        faults += _differ(f"the files of {name}", said, recorded[name], A_BOUNDARY_MS)
    if life.mode == "continuous":
        lost: Counter[str] = Counter()
        for gap in gaps:
            lost.update(_by_day(life, gap))
        for name in {*lost, *missing}:
            faults += _differ(f"the gaps of {name}", missing.get(name, 0), lost[name], A_BOUNDARY_MS)
    return faults


def report_faults(life: "Life") -> list[str]:
    """Return where the report of the days at the end of a life, none of them over, and files and gaps disagree.

    It is read from the files alone, by somebody who was not there.
    """
    if life.first_start is None:
        return []
    files = [span for span in spans_of(life) if span.what.startswith("file")]
    gaps = [gap for gap in read_gaps(life.folder) if not is_inside(gap)]
    rows = days_now(
        life.folder,
        life.settings,
        NOWHERE,
        life.time,
        life.time.at_boot(life.clock.boottime()),
        zone_name=life.zone_name,
        count=MOST_DAYS,
        is_running=False,
    )
    said = sum(row["recorded_ms"] + row["silence_ms"] for row in rows)
    faults = _differ("the report's files", said, sum(span.said for span in files))
    known = set(life.memory.account.boots) | {
        boot for boot, clock in life.boots.items() if clock.is_right_always
    }
    if set(life.boots) - known or any(gap.milliseconds is None for gap in gaps):
        return faults
    missing = sum(sum(row["missing_ms"].values()) - row["silence_ms"] for row in rows)
    return faults + _differ("the report's gaps", missing, sum(gap.milliseconds or 0 for gap in gaps))


def _files_ms(life: "Life", days: dict[str, Day]) -> int:
    """Return the length of all files that were counted, for days that are over and for others."""
    later = sum(length for name, length in life.memory.account.recorded.items() if name not in days)
    return sum(day.files_ms for day in days.values()) + later


def _by_day(life: "Life", gap: Gap) -> dict[str, int]:
    begin = BEGINNING_MS + life.true_ms(gap.start)
    return dict(split(begin, begin + (gap.milliseconds or 0), life.zone))


def _differ(what: str, said: int, true: int, within: int = 0) -> list[str]:
    return [f"{what}: {said} in the days, {true} in truth"] if abs(said - true) > within else []
