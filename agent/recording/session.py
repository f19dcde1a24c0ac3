"""A session's stream, cut into segments without losing or repeating a sample: recording procedures P1 to P4."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from agent.audio.opus import OpusEncoder, OpusSettings
from agent.audio.source import Block
from agent.host.disk import Disk
from agent.recording.clock import Clock, Instant, milliseconds
from agent.recording.identity import new_id
from agent.recording.segment import FinishedSegment, OpenSegment, SegmentStart


def no_listener(_: str) -> None:
    """Take no notice."""


class SegmentSink(Protocol):
    """What takes finished files over (the outbox)."""

    @property
    def recording_folder(self) -> Path:
        """Where open files live."""

    def next_sequence(self) -> int:
        """Return a number larger than any given before, also by another process."""

    def accept(self, segment: FinishedSegment) -> object:
        """Take a finished file over; durable when this returns."""


class Workshop:
    """What every segment is made with: encoder, file layer, clocks and the facts of this boot."""

    def __init__(
        self,
        sink: SegmentSink,
        opus: OpusSettings,
        *,
        disk: Disk,
        clock: Clock,
        boot_id: str,
        clock_state: Callable[[], str],
        flush_seconds: float,
    ) -> None:
        self.sink = sink
        self.clock = clock
        self._opus = opus
        self._disk = disk
        self._boot_id = boot_id
        self._clock_state = clock_state
        self._flush_seconds = flush_seconds
        self._encoder: OpusEncoder | None = None
        self._format: tuple[int, int] | None = None

    def instant(self, monotonic: float) -> Instant:
        """Return a moment of the monotonic clock on the other clocks."""
        ago = self.clock.monotonic() - monotonic
        return Instant(
            wall_ms=milliseconds(self.clock.wall() - ago),
            boot_id=self._boot_id,
            boot_ms=milliseconds(self.clock.boottime() - ago),
            clock=self._clock_state(),
        )

    def new_id(self) -> str:
        """Return a fresh local id."""
        return new_id(milliseconds(self.clock.wall()))

    def open(self, start: SegmentStart) -> OpenSegment:
        """Create the segment's file."""
        if self._encoder is None or self._format != (start.sample_rate, start.channels):
            self._encoder = OpusEncoder(self._opus, start.sample_rate, start.channels)
            self._format = (start.sample_rate, start.channels)
        return OpenSegment(
            start,
            self.sink.recording_folder,
            encoder=self._encoder,
            disk=self._disk,
            monotonic=self.clock.monotonic,
            flush_seconds=self._flush_seconds,
        )


class Session:
    """One stretch of recording; its segments count from 1 and share its id."""

    def __init__(
        self,
        workshop: Workshop,
        mode: str,
        *,
        sample_rate: int,
        channels: int,
        segment_seconds: float,
        total_seconds: float | None = None,
        name: str | None = None,
        metadata: dict[str, Any] | None = None,
        on_finished: Callable[[str], object] = no_listener,
    ) -> None:
        self.id = workshop.new_id()
        self.mode = mode
        self.sample_rate = sample_rate
        self.samples = 0
        """Taken in so far, per channel."""
        self.segments = 0
        self.open_segment: OpenSegment | None = None
        self._workshop = workshop
        self._channels = channels
        self._segment_samples = max(1, round(segment_seconds * sample_rate))
        self._total_samples = None if total_seconds is None else round(total_seconds * sample_rate)
        self._name = name
        self._metadata = metadata or {}
        self._on_finished = on_finished

    @property
    def complete(self) -> bool:
        """Whether all the samples that were asked for have been taken in."""
        return self._total_samples is not None and self.samples >= self._total_samples

    def take(self, block: Block) -> bytes:
        """Write the block, cutting where a segment is full; return what lies behind the session's end."""
        width = 2 * self._channels
        samples = memoryview(block.samples)
        while samples and not self.complete:
            segment = self.open_segment or self._open(
                block.captured_at - len(samples) / width / self.sample_rate
            )
            room = self._segment_samples - segment.samples
            if self._total_samples is not None:
                room = min(room, self._total_samples - self.samples)
            part = samples[: room * width]
            segment.write(part)
            self.samples += len(part) // width
            samples = samples[len(part) :]
            if segment.samples >= self._segment_samples or self.complete:
                self.cut()
        if self.open_segment is not None:
            self.open_segment.flush_if_due()
        return bytes(samples)

    def _open(self, captured_at: float) -> OpenSegment:
        start = SegmentStart(
            id=self._workshop.new_id(),
            seq=self._workshop.sink.next_sequence(),
            session_id=self.id,
            segment=self.segments + 1,
            mode=self.mode,
            started=self._workshop.instant(captured_at),
            sample_rate=self.sample_rate,
            channels=self._channels,
            name=self._name,
            metadata=self._metadata,
        )
        self.open_segment = self._workshop.open(start)
        self.segments += 1
        return self.open_segment

    def cut(self) -> None:
        """Finish the open segment, if there is one, and hand it to the outbox."""
        segment, self.open_segment = self.open_segment, None
        if segment is None:
            return
        try:
            self._workshop.sink.accept(segment.finish())
        finally:
            segment.release()
        self._on_finished(segment.start.id)

    def abandon(self) -> None:
        """Let go of the open file without finishing it: the disk refuses it; repair will take it up."""
        segment, self.open_segment = self.open_segment, None
        if segment is not None:
            segment.release()
