"""What the name of a recording tells: ``<UTC time>-<sequence number>-<local id>``, as ``SegmentStart.stem`` makes it.

Anybody can give a file any name, so what is read from one is bounded like everything else that comes from outside.
"""

import uuid
from datetime import UTC, datetime

import msgspec

from agent.bounds import NAMED_SEQUENCE
from agent.clock import Instant
from agent.recording.segment import START, SegmentStart
from agent.small_file import UnusableFile, decode


def start_of_stem(stem: str) -> SegmentStart | None:
    """Return what a file's name alone tells about a segment; None when the name is not one of ours."""
    stamp, _, rest = stem.partition("-")
    recording_id = rest.partition("-")[2]
    try:
        began = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        uuid.UUID(recording_id)
    except ValueError:
        return None
    start = SegmentStart(
        id=recording_id,
        seq=number_of(stem),
        session_id=recording_id,
        segment=1,
        mode="unknown",
        started=Instant(int(began.timestamp()) * 1000, "", 0, "unsynchronized"),
        sample_rate=48000,
        channels=1,
    )
    try:
        decode(START, msgspec.json.encode(start))
    except UnusableFile:
        return None
    return start if start.stem == stem else None


def number_of(name: str) -> int:
    """Return the sequence number that a file's name bears; 0 without one, or with one that is beyond belief."""
    digits = name.split("-", 2)[1] if "-" in name else ""
    number = int(digits) if digits.isascii() and digits.isdecimal() else 0
    return number if number <= NAMED_SEQUENCE else 0
