"""A session's stream, cut into segments without losing or repeating a sample: recording procedures P1 to P4."""

import math

from agent.gaps.log import Cause
from agent.log import get_logger
from agent.recording.asked.pending_marks import PendingMarks
from agent.recording.asked.requests import ManualRequest
from agent.recording.binding import is_other_owner
from agent.recording.listener import HeardBlock
from agent.recording.listening.ring import Prelude
from agent.recording.segment import OpenSegment, SegmentStart, end_of
from agent.recording.segment_factory import SegmentFactory
from agent.recording.triggers import SessionSpec

log = get_logger(__name__)


class Session:
    """One stretch of recording; its segments count from 1 and share its id."""

    def __init__(
        self,
        segment_factory: SegmentFactory,
        spec: SessionSpec,
        sample_rate: int,
        channels: int,
        manual: ManualRequest | None = None,
    ) -> None:
        self.id = segment_factory.new_id()
        self.mode = spec.mode
        self.sample_rate = sample_rate
        self.samples = 0
        """Taken in so far, per channel."""
        self.segments = 0
        self.open_segment: OpenSegment | None = None
        self._segment_factory = segment_factory
        self._channels = channels
        self._width = 2 * channels
        self._segment_samples = max(1, round(spec.segment_seconds * sample_rate))
        self._longest_ms = round(spec.segment_seconds * 1000)
        seconds = manual.seconds if manual is not None else None
        self._total_samples = None if seconds is None else round(seconds * sample_rate)
        self._manual = manual
        self.marks = PendingMarks(segment_factory.sink.marks, segment_factory.instant)
        """Moments that the stream of samples has not reached yet."""
        self._position = 0.0
        """The end of what was written, in seconds of the boot clock."""

    @property
    def complete(self) -> bool:
        """Whether all the samples that were asked for have been taken in."""
        return self._total_samples is not None and self.samples >= self._total_samples

    def begin_with(self, prelude: Prelude, asked_at: float) -> None:
        """Open the first segment with what was encoded before; its length counts from when it was asked for."""
        segment = self._open(prelude.begins_at, prelude)
        self.samples += segment.samples
        if self._total_samples is not None:
            self._total_samples += max(0, round((asked_at - prelude.begins_at) * self.sample_rate))
        self._position = prelude.begins_at + segment.samples / self.sample_rate
        if prelude.is_interrupted:
            self.interrupt()

    def take(self, heard: HeardBlock) -> HeardBlock | None:
        """Write what was heard, cutting where a segment is full; return what lies behind the session's end."""
        ends_at = heard.begins_at + len(heard.block.samples) / self._width / self.sample_rate
        self.marks.settle(self.open_segment, ends_at, longest_ms=self._longest_ms)
        missing = self._fill(heard.missing, heard.begins_at - heard.missing / self.sample_rate)
        self._divide_between_owners()
        rest = self._write(memoryview(heard.block.samples), heard.begins_at)
        self.marks.settle(self.open_segment, ends_at, longest_ms=self._longest_ms)
        if self.open_segment is not None:
            self.open_segment.clipped += heard.clipped
            if self.open_segment.flush_if_due():
                self._segment_factory.gap_tracker.settle_if_due(
                    self._segment_factory.instant(heard.begins_at)
                )
        if not rest:
            return None
        taken = (len(heard.block.samples) - len(rest)) / self._width / self.sample_rate
        block = heard.block._replace(samples=bytes(rest))
        return HeardBlock(block, missing, 0, heard.begins_at + taken)

    def _divide_between_owners(self) -> None:
        """Begin another segment where the device was bound to another person: one file is one person's."""
        segment = self.open_segment
        if segment is None:
            return
        if is_other_owner(segment.start.binding, self._segment_factory.binding()):
            self.cut(divided=True)

    def _fill(self, missing: int, begins_at: float) -> int:
        """Write silence in the place of lost samples, so that time stays true, and note it; return what is left.

        What was lost before the session's first sample is only noted: a session begins with sound.
        """
        if missing and not self.samples:
            if not self._segment_factory.gap_tracker.is_open:
                start = self._segment_factory.begins(begins_at)
                end = self._segment_factory.instant(begins_at + missing / self.sample_rate)
                self._segment_factory.gap_tracker.overflow(start, max(0, end.boot_ms - start.boot_ms), None)
                self._segment_factory.gap_tracker.settle()  # no file has silence in its place
            return 0
        while missing and not self.complete:
            segment = self.open_segment or self._open(begins_at)
            count = min(missing, self._room(segment))
            segment.overflows += 1
            segment.gap_samples += count
            self._note_lost(count, begins_at, segment.start.id)
            self._write_silence(count, begins_at)
            missing -= count
            begins_at += count / self.sample_rate
        return missing

    def _note_lost(self, samples: int, begins_at: float, recording_id: str | None) -> None:
        self._segment_factory.gap_tracker.overflow(
            self._segment_factory.instant(begins_at), samples * 1000 // self.sample_rate, recording_id
        )

    def _write_silence(self, samples: int, begins_at: float) -> None:
        """Write silence a second at a time: it may stand for minutes."""
        silence = memoryview(bytes(min(samples, self.sample_rate) * self._width))
        for done in range(0, samples, self.sample_rate):
            self._write(silence[: (samples - done) * self._width], begins_at + done / self.sample_rate)

    def _room(self, segment: OpenSegment) -> int:
        """Return how many samples the segment still takes."""
        room = self._segment_samples - segment.samples
        return room if self._total_samples is None else min(room, self._total_samples - self.samples)

    def _write(self, samples: memoryview, begins_at: float) -> memoryview:
        """Write samples until they or the session are at an end; return those that are left."""
        while samples and not self.complete:
            segment = self.open_segment or self._open(begins_at)
            part = samples[: self._room(segment) * self._width]
            segment.write(part)
            count = len(part) // self._width
            self.samples += count
            begins_at += count / self.sample_rate
            self._position = begins_at
            samples = samples[len(part) :]
            if segment.samples >= self._segment_samples or self.complete:
                self.cut()
        return samples

    def _open(self, begins_at: float, prelude: Prelude | None = None) -> OpenSegment:
        started = self._segment_factory.begins(begins_at)
        self._segment_factory.gap_tracker.retry()
        start = SegmentStart(
            id=self._segment_factory.new_id(),
            seq=self._segment_factory.sink.next_sequence(started),
            session_id=self.id,
            segment=self.segments + 1,
            mode=self.mode,
            started=started,
            sample_rate=self.sample_rate,
            channels=self._channels,
            name=self._manual.name if self._manual is not None else None,
            metadata=self._segment_factory.settings.metadata
            | (self._manual.metadata if self._manual is not None else {}),
            binding=self._segment_factory.binding(),
        )
        self.open_segment = self._segment_factory.open(start, prelude)
        self.segments += 1
        self._position = begins_at
        if self._segment_factory.gap_tracker.is_open:
            self._segment_factory.gap_tracker.ended(started)
        log.info(
            "recording",
            action="recording_started",
            id=start.id,
            seq=start.seq,
            mode=start.mode,
            segment=start.segment,
            clock=start.started.clock,
        )
        return self.open_segment

    def interrupt(self) -> None:
        """Finish the open segment although its stream does not go on at once; marks of just now belong to it."""
        self.marks.settle(self.open_segment, math.inf, longest_ms=self._longest_ms)
        self.marks.refuse_all()
        self.cut()

    def cut(self, *, divided: bool = False) -> None:
        """Finish the open segment, if there is one, and hand it to the outbox; ``divided``: however short."""
        segment, self.open_segment = self.open_segment, None
        if segment is None:
            return
        self._segment_factory.gap_tracker.settle()
        try:
            if not divided and self._is_too_short(segment):
                self._drop(segment)
                return
            self._segment_factory.sink.accept(segment.finish())
            self._segment_factory.ended(self._position, end_of(segment.start, segment.samples))
        except OSError:
            self._fail(segment)
            raise
        finally:
            segment.release()
        if self._manual is not None:
            self._manual.finished_ids.append(segment.start.id)

    def _is_too_short(self, segment: OpenSegment) -> bool:
        """Whether the whole session is shorter than ``recording.min_seconds``; the tail of a long one is kept."""
        return (
            segment.start.segment == 1
            and segment.samples < self._segment_factory.settings.min_seconds * self.sample_rate
        )

    def _drop(self, segment: OpenSegment) -> None:
        segment.discard()
        self._segment_factory.gap_tracker.note(
            Cause.TOO_SHORT, segment.start.started, segment.duration_ms, segment.start.id
        )
        log.info(
            "dropped, shorter than recording.min_seconds",
            action="recording_dropped",
            id=segment.start.id,
            duration_ms=segment.duration_ms,
        )
        self._segment_factory.ended(self._position, end_of(segment.start, segment.samples))

    def abandon(self) -> None:
        """Let go of the open file without finishing it: the disk refuses it; repair will take it up."""
        segment, self.open_segment = self.open_segment, None
        self._segment_factory.gap_tracker.settle()
        if segment is not None:
            self._fail(segment)

    def _fail(self, segment: OpenSegment) -> None:
        segment.abandon()
        written = segment.samples - segment.unwritten_samples
        self._segment_factory.sink.left(segment.start, written)
        self._segment_factory.ended(self._position, end_of(segment.start, written))
