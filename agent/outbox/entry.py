"""One recording in the outbox: its identity, its file, and the facts of its delivery."""

import collections.abc
from enum import StrEnum
from typing import Any

import msgspec

from agent.bounds import (
    ID_CHARS,
    Channels,
    ClockSource,
    Count,
    Decibels,
    DurationMs,
    LocalId,
    RemoteId,
    SampleRate,
    Sequence,
    Sha256,
    Stem,
    Text,
    WallMs,
    Word,
    is_plausible,
    is_word,
)
from agent.clock import SERVER, UNSYNCHRONIZED, Instant
from agent.recording.segment import FinishedSegment

MARKS = "recorder_marks"
"""The key of the metadata that holds the moments a person marked: ``[{"offset_ms": …, "text": …}]``, as a text."""


class Status(StrEnum):
    """Where a finished recording stands; computed from its facts."""

    READY = "ready"
    """Finished; the API does not know it yet."""
    CREATED = "created"
    """The API knows it; its audio is not stored."""
    STORED = "stored"
    """Its audio is stored; the API has not confirmed it."""
    UPLOADED = "uploaded"
    """The API has confirmed it."""
    PARKED = "parked"
    """Rejected or damaged; waits for a person, and for a daily retry where that can help."""
    HELD = "held"
    """Captured under another binding of the device; waits until its owner is known."""


WAITING = frozenset({Status.READY, Status.CREATED, Status.STORED})
"""What waits for delivery."""

MOST_DIGITS = 16


def number_given(name: str) -> int:
    """Return the sequence number that a person has typed in the place of an id, which begins with a zero; else 0."""
    is_number = name.isascii() and name.isdecimal() and not name.startswith("0") and len(name) < MOST_DIGITS
    return int(name) if is_number else 0


class KeptUrl(msgspec.Struct, frozen=True):
    """An upload URL and what must be sent with it; a credential: kept in the index only, and cleared after use."""

    url: str
    headers: dict[str, str]
    boot_id: str
    boot_ms: int
    """Boot time at which it arrived: its age does not depend on the wall clock."""
    lifetime_ms: int = 3_600_000

    def __repr__(self) -> str:
        return "KeptUrl(url=…)"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A finished recording. Times are unix milliseconds, None for what has not happened."""

    id: LocalId
    seq: Sequence
    session_id: LocalId
    segment: Sequence
    stem: Stem
    mode: Word
    started: Instant
    sample_rate: SampleRate
    channels: Channels
    samples: Count
    """Per channel."""
    size_bytes: Count
    sha256: Sha256
    recovered: bool = False
    """Cut short by a kill or a power cut, and repaired."""
    gap_ms: DurationMs = 0
    """How much of it is silence in the place of samples that were lost while it was captured."""
    overflows: Count = 0
    """How many times that happened."""
    clipped: Count = 0
    """Samples at the limit of 16 bits."""
    peak_dbfs: Decibels | None = None
    """Of the loudest sample; None, as the next two: not known, as of a repaired file."""
    rms_dbfs: Decibels | None = None
    clipped_seconds: Count | None = None
    """``agent.audio.loudness`` says what counts."""
    name: Text | None = None
    metadata: dict[str, Any] = {}
    binding: Word | None = msgspec.field(name="lineage", default=None)
    """Under which binding of the device it was captured; None: before there was any (api.md section 7)."""

    request: dict[str, Any] | None = None
    """The body of the create call, frozen at its first try (api.md section 1)."""
    create_refusals: Count = 0
    """How often the create call met a definite refusal: each one makes another idempotency key."""
    remote_id: str | None = None
    created_ms: WallMs | None = None
    stored_ms: WallMs | None = None
    asked_ms: WallMs | None = None
    """Completion was asked for; an answer may have been lost."""
    conflicts: Count = 0
    """How often the server held other bytes than were sent (409)."""
    completed_ms: WallMs | None = None
    completed_clock: ClockSource | None = None
    """Whether the wall clock was right then; ages are counted from right times only."""
    verified: bool = False
    """The API has compared the hash."""
    media_id: RemoteId | None = None
    """Which row of the recording's ``media`` the last upload URL was for."""
    evidence: Word | None = None
    """``size``: the API has not compared the hash, but has named our upload with its size."""
    parked_ms: WallMs | None = None
    parked_reason: Text | None = None
    parked_tries: Count = 0
    held_ms: WallMs | None = None
    released_to: Word | None = None
    """The binding in force when a person let it go: whoever that is may have it."""

    upload_url: KeptUrl | None = msgspec.field(name="ticket", default=None)
    attempts: Count = 0
    """Tries that failed for a reason of this recording or of a busy server; being offline uses up none."""
    last_error: Text | None = None
    next_attempt_ms: WallMs | None = None
    """Wall time of the next try, for people."""
    next_attempt: Instant | None = None
    """The same on this boot's clock: what counts."""

    @property
    def status(self) -> Status:
        """Where it stands."""
        if self.completed_ms is not None:
            return Status.UPLOADED
        if self.parked_ms is not None:
            return Status.PARKED
        if self.held_ms is not None:
            return Status.HELD
        if self.stored_ms is not None:
            return Status.STORED
        return Status.CREATED if self.remote_id is not None else Status.READY

    @property
    def duration_ms(self) -> int:
        """Length of the audio, from its sample count."""
        return self.samples * 1000 // self.sample_rate

    @property
    def ended_ms(self) -> int:
        """Wall time of the last sample."""
        return self.started.wall_ms + self.duration_ms

    @property
    def audio_name(self) -> str:
        """File name of the audio."""
        return f"{self.stem}.opus"

    @property
    def sidecar_name(self) -> str:
        """File name of the sidecar."""
        return f"{self.stem}.json"

    @property
    def progress(self) -> int:
        """How far delivery has come, for comparing two records of the same recording."""
        facts = (self.request, self.remote_id, self.stored_ms, self.asked_ms, self.completed_ms)
        return sum(fact is not None for fact in facts)

    @classmethod
    def of(cls, segment: FinishedSegment, marks: collections.abc.Sequence[Any] = ()) -> "Entry":
        """Return the entry of a file that has just been finished or repaired; its marks become ``metadata[MARKS]``."""
        start, loudness = segment.start, segment.loudness
        return cls(
            id=start.id,
            seq=start.seq,
            session_id=start.session_id,
            segment=start.segment,
            stem=start.stem,
            mode=start.mode,
            started=start.started,
            sample_rate=start.sample_rate,
            channels=start.channels,
            samples=segment.samples,
            size_bytes=segment.size_bytes,
            sha256=segment.sha256,
            recovered=segment.recovered,
            gap_ms=segment.gap_samples * 1000 // start.sample_rate,
            overflows=segment.overflows,
            clipped=segment.clipped,
            **(loudness._asdict() if loudness is not None else {}),
            name=start.name,
            metadata=start.metadata | ({MARKS: msgspec.json.encode(list(marks)).decode()} if marks else {}),
            binding=start.binding,
        )


ENTRY = msgspec.json.Decoder(Entry)
STORED_NAMES = {field.name: field.encode_name for field in msgspec.structs.fields(Entry)}
"""What each field is called in the sidecar and in the index: the names of the first version stay."""

INDEX_ONLY = ("upload_url", "attempts", "last_error", "next_attempt_ms", "next_attempt")
"""What may be lost with the index; everything else is in the sidecar too."""


def sane(entry: Entry) -> Entry:
    """Return an entry that was read back as if the API had never given it what no API can give.

    An id that cannot be used is none: the API knows the recording not yet. A time that a server told and that is
    outside of this program's life is told by nobody, and may be corrected.
    """
    if entry.completed_ms is not None:
        return entry
    if entry.remote_id is not None and not is_word(entry.remote_id, ID_CHARS):
        entry = changed(
            entry, remote_id=None, created_ms=None, stored_ms=None, asked_ms=None, upload_url=None
        )
    started = entry.started
    if started.clock == SERVER and not is_plausible(started.wall_ms / 1000):
        entry = changed(entry, started=msgspec.structs.replace(started, clock=UNSYNCHRONIZED))
    return entry


def changed(entry: Entry, **facts: Any) -> Entry:
    """Return the entry with other facts."""
    return msgspec.structs.replace(entry, **facts)
