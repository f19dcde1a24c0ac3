"""What was not recorded while the recorder, or the machine, was off: into the gap log, from its own files alone."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from agent.audio.ogg import NotOggOpus, read_summary
from agent.config import RecordingConfig
from agent.host.small_file import UnusableFile
from agent.log import get_logger
from agent.outbox import sidecar
from agent.outbox.files import AUDIO, SIDECAR, Files, names
from agent.recorder.memory import Memory
from agent.recorder.sink import UNASKED, end_of
from agent.recording.clock import UNSYNCHRONIZED, Instant
from agent.recording.coverage import Coverage
from agent.recording.knowntime import KnownTime
from agent.recording.ledger import Cause, Gap, last_gaps, ledger_size
from agent.recording.segment import PART, SegmentStart, is_being_written
from agent.recording.triggers import Schedule

log = get_logger(__name__)

NEWEST = 20
"""How many of the newest sidecars are looked at when ``recorder.json`` is lost."""


class Downtime:
    """Notes the absence before a start, once; made before the recorder begins to record.

    Only what was there when it was made counts: the size of the gap log, the open files, the remembered instant.
    """

    def __init__(self, files: Files, memory: Memory, time: KnownTime, coverage: Coverage) -> None:
        self._files = files
        self._time = time
        self._coverage = coverage
        self._ledger_size = ledger_size(files.root)
        self._until = memory.until
        self._is_new = memory.is_new
        self._torn = [name for name in names(files.recording) if name.endswith(PART)]

    def note(self, began: Instant, settings: RecordingConfig, wall: Callable[[], float]) -> None:
        """Write what is missing up to ``began``, where this run takes over.

        Raises:
            OSError: as the disk gives it.
        """
        gaps = last_gaps(self._files.root, self._ledger_size)
        if self._close_what_was_open(gaps, began) or settings.mode == "manual":
            return
        since = self._recorded_until(gaps, began)
        if since is None:
            return
        if settings.mode == "schedule":
            self._note_missed_windows(since, began, settings, wall)
            return
        milliseconds = self._time.apart_ms(since, began)
        if milliseconds is None or milliseconds > 0:
            self._coverage.write(Gap(Cause.NOT_RUNNING, since, began, milliseconds))

    def _close_what_was_open(self, gaps: list[Gap], began: Instant) -> bool:
        """End a gap that an earlier run had open when it was killed: nothing was recorded until now in any case."""
        for gap in reversed(gaps):
            if gap.end is None and gap.milliseconds is None:
                self._coverage.write(Gap(gap.cause, gap.start, began, self._time.apart_ms(gap.start, began)))
                return True
        return False

    def _recorded_until(self, gaps: list[Gap], began: Instant) -> Instant | None:
        """Return the newest moment of an earlier run that is accounted for."""
        ends = [self._until, *self._torn_ends(), *(self._newest_ends() if self._is_new else ())]
        ends += [gap.end for gap in gaps if gap.recording_id is None]
        newest: Instant | None = None
        for end in ends:
            if end is None or (self._time.apart_ms(end, began) or 0) < 0:
                continue
            if newest is None or (self._time.apart_ms(newest, end) or 0) > 0:
                newest = end
        return newest

    def _torn_ends(self) -> Iterator[Instant]:
        """Yield where the files end that an earlier run left open, by their last whole page; nothing is written."""
        for name in self._torn:
            path = self._files.recording / name
            with contextlib.suppress(NotOggOpus, OSError, UnusableFile):
                if is_being_written(path):
                    continue
                summary = read_summary(path)
                start = SegmentStart.from_tags(summary.tags)
                if start is not None and start.mode in UNASKED:
                    yield end_of(start, summary.samples_48k * start.sample_rate // 48000)

    def _newest_ends(self) -> Iterator[Instant]:
        """Yield the ends of the newest finished recordings."""
        found = [
            folder / name
            for folder in (self._files.outbox, self._files.sent)
            for name in names(folder)
            if name.endswith(SIDECAR) and (folder / name).with_suffix(AUDIO).exists()
        ]
        for path in sorted(found, key=lambda path: path.name)[-NEWEST:]:
            with contextlib.suppress(OSError):
                entry = sidecar.read(path)
                if entry is not None and entry.mode in UNASKED:
                    start, length = entry.started, entry.duration_ms
                    yield Instant(start.wall_ms + length, start.boot_id, start.boot_ms + length, start.clock)

    def _note_missed_windows(
        self, since: Instant, until: Instant, settings: RecordingConfig, wall: Callable[[], float]
    ) -> None:
        """Note how long windows of the schedule were open meanwhile, all of them in one gap.

        The calendar needs a right clock at both ends.
        """
        since, until = self._time.corrected(since), self._time.corrected(until)
        if UNSYNCHRONIZED in {since.clock, until.clock}:
            return
        schedule = Schedule(settings, wall)
        windows = schedule.windows_between(_moment(since), _moment(until))
        if not windows:
            return
        begin_ms = round(windows[0].begin.timestamp() * 1000)
        start = Instant(
            begin_ms, since.boot_id, max(0, since.boot_ms + begin_ms - since.wall_ms), since.clock
        )
        missed = sum((window.end - window.begin for window in windows), timedelta())
        self._coverage.write(Gap(Cause.NOT_RUNNING, start, until, round(missed.total_seconds() * 1000)))


def _moment(instant: Instant) -> datetime:
    return datetime.fromtimestamp(instant.wall_ms / 1000, tz=UTC)
