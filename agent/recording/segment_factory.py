"""What every segment is made with, and where it begins: encoder, file layer, clocks, the gap log, the outbox."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from agent.audio.opus import OpusEncoder
from agent.clock import Instant, Interval, milliseconds
from agent.environment import Environment
from agent.gaps.tracker import GapTracker
from agent.identity import new_id
from agent.recording.asked.marks import Marks
from agent.recording.asked.requests import Asked
from agent.recording.listening.ring import Prelude
from agent.recording.segment import FinishedSegment, OpenSegment, SegmentStart
from agent.timing.known_time import KnownTime

SAME_SECONDS = 0.0001
"""Moments of the sample clock that are no further apart are one: less than a sample lies between them."""
STEP_MS = 500
"""By so much the wall clock must have moved for a file that begins where another ended to be dated anew."""


class SegmentSink(Protocol):
    """What takes finished files over (the outbox)."""

    @property
    def recording_folder(self) -> Path:
        """Where open files live."""

    def listened(self, until: Instant) -> object:
        """Remember up to when it was listened, although nothing was recorded; durable when this returns."""

    @property
    def marks(self) -> Marks:
        """Where the marks of unfinished files are kept."""

    def next_sequence(self, at: Instant) -> int:
        """Return a number larger than any given before, for a file whose first sample begins at ``at``."""

    def accept(self, segment: FinishedSegment) -> object:
        """Take a finished file over; durable when this returns."""

    def left(self, start: SegmentStart, samples: int) -> None:
        """Take note of a file that the disk refuses: so many samples of it are written; it is repaired later."""

    def asked(self, asked: Asked | None) -> None:
        """Remember which manual recording runs; durable when this returns, unless the disk refuses."""


class SegmentFactory:
    """What every segment is made with: encoder, file layer, clocks, and the gap log of what is missing."""

    def __init__(
        self,
        environment: Environment,
        sink: SegmentSink,
        time: KnownTime,
        gap_tracker: GapTracker,
        binding: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.sink = sink
        self.clock = environment.clock
        self.settings = environment.config.recording
        self.instant = time.at_boot
        """Gives a moment of the boot clock, in seconds, on the other clocks."""
        self.gap_tracker = gap_tracker
        self.binding = binding
        """Gives the binding of the device that is in force."""
        self._opus = environment.config.opus
        self._disk = environment.disk
        self._flush_seconds = environment.config.storage.flush_seconds
        self._encoder: OpusEncoder | None = None
        self._format: tuple[int, int] | None = None
        self.until: Instant | None = None
        """The end of the newest sample that the disk has taken; None before there was one."""
        self._until_seconds = 0.0

    def ended(self, seconds: float, until: Instant) -> None:
        """Note where a file ended, by the boot clock in seconds and by the file itself."""
        self._until_seconds, self.until = seconds, until

    def begins(self, seconds: float) -> Instant:
        """Return the instant of a file's first sample: where it follows the last file's to the sample, that one's end.

        Rounding and the moment's own reading of the wall clock would make them a millisecond or more apart.
        """
        fresh, until, missing = self.instant(seconds), self.until, self.gap_tracker.open_since
        if missing is not None and missing.boot_id == fresh.boot_id and fresh.boot_ms < missing.boot_ms:
            return fresh.later(missing.boot_ms - fresh.boot_ms)
        if until is None or until.boot_id != fresh.boot_id:
            return fresh
        if abs(seconds - self._until_seconds) < SAME_SECONDS:
            is_right = until.clock == fresh.clock and abs(until.wall_ms - fresh.wall_ms) < STEP_MS
            return until if is_right else fresh.later(until.boot_ms - fresh.boot_ms)
        if self._until_seconds <= seconds and fresh.boot_ms < until.boot_ms:
            return fresh.later(until.boot_ms - fresh.boot_ms)
        return fresh

    def new_id(self) -> str:
        """Return a fresh local id."""
        return new_id(milliseconds(self.clock.wall()))

    def encoder(self, sample_rate: int, channels: int) -> OpusEncoder:
        """Return the encoder for a rate and a number of channels, the same each time."""
        if self._encoder is None or self._format != (sample_rate, channels):
            self._encoder = OpusEncoder(self._opus, sample_rate, channels)
            self._format = (sample_rate, channels)
        return self._encoder

    def open(self, start: SegmentStart, prelude: Prelude | None = None) -> OpenSegment:
        """Create the segment's file; ``prelude`` is what its stream begins with."""
        return OpenSegment(
            start,
            self.sink.recording_folder,
            encoder=self.encoder(start.sample_rate, start.channels),
            prelude=prelude,
            disk=self._disk,
            flush=Interval(self.clock, self._flush_seconds),
        )
