"""The limits of everything that comes from outside: one list, read by each door.

A value of one of these types needs no further check: it can be added, formatted as a date, put into SQLite and shown.
Of an answer of the API a value beyond its limit counts as missing (api.md section 5, "absurd"), and text is cut to its
limit before anything else looks at it. Lengths are characters unless a name says otherwise, times are seconds.
"""

from datetime import UTC, datetime
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
NextSequence = Annotated[int, Meta(ge=1, le=2**52)]
"""The number of the next recording: no recorder comes from here to the end of ``Sequence``."""
NAMED_SEQUENCE = 10**12
"""The largest number that is believed of a file's name, which anybody may have given it."""
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
Decibels = Annotated[float, Meta(ge=-200, le=0)]
"""Relative to full scale."""
SampleRate = Annotated[int, Meta(ge=8000, le=48000)]
RemoteId = Annotated[str, Meta(max_length=200)]
"""An id that the API gave; ``is_word`` tells the rest."""
Channels = Annotated[int, Meta(ge=1, le=2)]

# answers

ANSWER_BYTES = 256 * 1024
"""Of a body: 32 commands with all their metadata fit."""
HEADER_CHARS = 256
"""Of a header's value; all that is read of them are dates, numbers and a host."""
ID_CHARS = 200
WORD_CHARS = 64
"""Where a word is due: a status, a code, a type."""
TIME_CHARS = 64
TEXT_CHARS = 2048
"""Of a message, before it is cleaned for a person."""
PAGE_CHARS = 4096
"""Of a web page, before its title is looked for."""
URL_CHARS = 8192
TOKEN_CHARS = 4096
COMMAND_BYTES = 16 * 1024
"""Of one command: its metadata have 4096 bytes, and its grant token is not read."""
COMMANDS = 32
"""Commands of one answer that are looked at."""
MANIFESTS = 8
"""Firmware offers of one answer that are looked at."""
COMMANDS_PER_MINUTE = 20
"""Commands that are decided upon; more are no person's."""
UPLOAD_HEADERS = 32
UPLOAD_HEADER_CHARS = 2048

# numbers and dates

EARLIEST = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""The beginning of the year in which this version was built: it is never earlier than that."""
LATEST = EARLIEST + 50 * 366 * 86_400.0
RATE_LIMIT = 1_000_000
"""Calls in a window."""
FILE_BYTES = 1 << 40
URL_SECONDS = 7 * 86_400.0
"""The longest life of a presigned URL (AWS Signature Version 4)."""

# waits that an answer can cause

PAUSE_SECONDS = 3600.0
"""What one answer can buy: a 429's pause, the Retry-After of a 408 or 5xx."""
VERIFYING_SECONDS = 120.0
"""The Retry-After of a 425."""
WINDOW_SECONDS = 3600.0
"""A window of rate figures."""
PACING_SECONDS = 900.0
"""One wait for pacing."""
ATTEMPT_SECONDS = PAUSE_SECONDS + 600.0
"""The longest wait of one recording: what an answer bought, and the draw of the backoff."""


def clamped_wall_ms(value: int) -> int:
    """Return a reading of the wall clock as a ``WallMs``; a clock set beyond all reason counts as its nearest end."""
    return min(max(value, 0), LATEST_MS)


def is_word(text: str, longest: int = WORD_CHARS) -> bool:
    """Tell whether a text is short, not empty, and has no character that cannot be seen."""
    return 0 < len(text) <= longest and text.isprintable()


def is_plausible(unix: float) -> bool:
    """Tell whether unix seconds are a time at which this program can run: from its build on, for 50 years."""
    return EARLIEST <= unix <= LATEST


MOST_DAYS = 1100
"""Of so many days the sums are kept, and told: three years."""
