"""Where finished files go: into ``outbox/`` with their sidecar (procedure Finish), and a word to the deliverer."""

from collections.abc import Callable
from pathlib import Path

from agent.clock import Instant
from agent.disk import Disk
from agent.outbox.entry import Entry
from agent.outbox.files import Files
from agent.recorder.account.daybook import DayBook
from agent.recorder.account.memory import Numbers
from agent.recording.asked.marks import Marks
from agent.recording.asked.requests import Asked
from agent.recording.segment import FinishedSegment, SegmentStart, end_of


class OutboxFolder:
    """Takes segments over; raises OSError as the disk gives it, then the open file is repaired later."""

    def __init__(
        self,
        root: Path,
        disk: Disk,
        memory: Numbers,
        *,
        days: DayBook | None = None,
        binding: Callable[[], str | None] = lambda: None,
        announce: Callable[[], None] = lambda: None,
    ) -> None:
        self.files = Files(root, disk)
        self.marks = Marks(root, disk)
        self._memory = memory
        self._days = days
        self._binding = binding
        self._announce = announce
        self.finished: list[Entry] = []
        """The newest ones, for whoever asked for them."""
        self.is_of_recorder = False
        """Whether what is recorded fills the time of the recorder; what a command records beside it does not."""

    @property
    def recording_folder(self) -> Path:
        """Where open files live."""
        return self.files.recording

    def next_sequence(self, at: Instant) -> int:
        """Return a number larger than any given before; ``at`` is where the new file's first sample begins."""
        return self._memory.next_number(at=at if self.is_of_recorder else None, binding=self._binding())

    def listened(self, until: Instant) -> None:
        """Remember up to when it was listened; durable when this returns."""
        if self.is_of_recorder:
            self._memory.note(until)

    def accept(self, segment: FinishedSegment) -> Entry:
        """Take over a finished file; durable when this returns."""
        entry = Entry.of(segment, self.marks.of(segment.start.id))
        self.files.finish(segment, entry)
        if self.is_of_recorder:
            self.left(segment.start, segment.samples)
            self._memory.note(end_of(segment.start, segment.samples))
        self.finished = [*self.finished[-KEPT:], entry]
        self._announce()
        return entry

    def left(self, start: SegmentStart, samples: int) -> None:
        """Count a file for its day; durable with the next write of what is remembered."""
        if self.is_of_recorder and self._days is not None:
            self._days.add(start.seq, start.started, samples * 1000 // start.sample_rate)

    def asked(self, asked: Asked | None) -> None:
        """Remember which manual recording runs; durable when this returns, unless the disk refuses."""
        if self.is_of_recorder:
            self._memory.ask(asked)


KEPT = 1000
