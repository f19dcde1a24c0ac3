"""The limits of what is read from files, sockets and other processes: types that msgspec checks while it decodes.

A value of one of these types needs no further check: it can be added, formatted as a date, put into SQLite and shown.
"""

from typing import Annotated

from msgspec import Meta

LATEST_MS = 7_258_118_400_000
"""The year 2200, in unix milliseconds: a recording of any length that begins before it still has a date."""

WallMs = Annotated[int, Meta(ge=0, le=LATEST_MS)]
"""Unix time in milliseconds, from 1970 to 2200."""
BootMs = Annotated[int, Meta(ge=0, le=10**13)]
"""CLOCK_BOOTTIME in milliseconds: 300 years."""
OffsetMs = Annotated[int, Meta(ge=-(10**13), le=LATEST_MS)]
"""Unix time at which a boot's clock stood at zero, in milliseconds."""
DurationMs = Annotated[int, Meta(ge=0, le=LATEST_MS)]
"""A length in milliseconds."""
BootId = Annotated[str, Meta(max_length=64)]
"""The kernel's boot id; empty where it is unknown."""
ClockSource = Annotated[str, Meta(max_length=32)]
"""``ntp``, ``server`` or ``unsynchronized``."""
Sequence = Annotated[int, Meta(ge=0, le=2**53)]
"""The number of a recording, or of a segment."""
Count = Annotated[int, Meta(ge=0, le=2**53)]
"""Bytes, samples, tries: SQLite's and JSON's integers hold it exactly."""
LocalId = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\A[A-Za-z0-9_-]+\Z")]
"""A recording's or a session's own id."""
Stem = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"\A[A-Za-z0-9_-]+\Z")]
"""A file name without its ending; never a path."""
Word = Annotated[str, Meta(max_length=64)]
"""One word of ours."""
Text = Annotated[str, Meta(max_length=65_536)]
"""Words of a person or of the server, kept as they were given."""
Sha256 = Annotated[str, Meta(max_length=64, pattern=r"\A([0-9a-f]{64})?\Z")]
"""64 lowercase hexadecimal digits; empty where nothing was hashed."""
SampleRate = Annotated[int, Meta(ge=8000, le=48000)]
Channels = Annotated[int, Meta(ge=1, le=2)]


def clamped_wall_ms(value: int) -> int:
    """Return a reading of the wall clock as a ``WallMs``; a clock set beyond all reason counts as its nearest end."""
    return min(max(value, 0), LATEST_MS)
