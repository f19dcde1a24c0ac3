"""The gap log as ``gaps --json`` says it."""

from pathlib import Path
from typing import Any

from agent.clock import rfc3339
from agent.config.schema import Config
from agent.gaps.log import Gap
from agent.gaps.tracker import positive
from agent.recorder.account.absence import missed
from agent.recorder.account.memory import absences_of
from agent.recording.days.gapsfile import Complain, ignore, read_gaps
from agent.timing.known_time import KnownTime


def gap_rows(
    folder: Path, config: Config, time: KnownTime, complain: Complain = ignore
) -> list[dict[str, Any]]:
    """Return what a state directory's gap logs hold, in the order of time, and at times as right as ``time`` knows.

    What was missed of the schedule while the clock is not right is told by the clock as it is.
    """
    found = [*read_gaps(folder, complain), *_not_judged_yet(folder, config, time)]
    return sorted((_row(gap, time) for gap in found), key=lambda row: str(row["from"]))


def _not_judged_yet(folder: Path, config: Config, time: KnownTime) -> list[Gap]:
    if config.recording.mode != "schedule":
        return []
    gaps = (missed(absence, config.recording, time, config.location) for absence in absences_of(folder))
    return [gap for gap in gaps if gap is not None]


def _row(gap: Gap, time: KnownTime) -> dict[str, Any]:
    milliseconds = gap.milliseconds
    if milliseconds is None and gap.end is not None:
        milliseconds = positive(time.elapsed_ms(gap.start, gap.end))
    return {
        "cause": gap.cause.value,
        "from": rfc3339(time.corrected(gap.start).wall_ms),
        "seconds": None if milliseconds is None else milliseconds / 1000,
        "recording_id": gap.recording_id,
    }
