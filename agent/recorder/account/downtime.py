"""What was not recorded while the recorder, or the machine, was off: into the gap log, from its own files alone.

Every second before a start is in one of three: a file, a gap, or the time since the newest of both. The gap log says
which gap an earlier run left open, and by a number which files came after it; ``recorder.json`` says up to when all is
known, and the recorder's newest file where its sound ends. In continuous mode the time since then is one gap with
this run's own start: it opens where recording ended, and ends at this run's first sample.
"""

import threading
from typing import NamedTuple

from agent.clock import Instant
from agent.config.schema import NOWHERE, LocationConfig, RecordingConfig
from agent.gaps.log import Cause, Gap
from agent.gaps.tracker import GapTracker, not_before, positive
from agent.log import get_logger
from agent.outbox.files import Files
from agent.recorder.account.absence import is_certain, missed
from agent.recorder.account.daybook import DayBook
from agent.recorder.account.earlier import NEWEST, RecordedSpan, stretches
from agent.recorder.account.memory import MOST_ABSENCES, Absence, Memory
from agent.recording.asked.requests import Asked
from agent.recording.days.gapsfile import end_of_gap_log, last_gaps
from agent.timing.known_time import KnownTime

log = get_logger(__name__)

ALWAYS = {"continuous", "voice"}
"""Modes in which every second is wanted: to be recorded, or to be listened to."""


class Before(NamedTuple):
    """What the files tell of the time before a start."""

    left_open: Gap | None
    """The gap in which an earlier run ended, or one whose end was never written."""
    closed_at: Instant | None
    """Where recording went on after it; None: nothing was recorded since."""
    until: Instant | None
    """The newest moment that is accounted for; None: there was none."""
    found: list[RecordedSpan]
    """The newest files of earlier runs, oldest first."""


class Downtime:
    """Notes the absence before a start, once; made before anything is recorded or noted by this run.

    ``poll`` reads, and may run in a thread of its own while the microphone opens; ``note`` waits for it.
    """

    def __init__(
        self,
        files: Files,
        memory: Memory,
        time: KnownTime,
        gap_tracker: GapTracker,
        settings: RecordingConfig,
        location: LocationConfig = NOWHERE,
    ) -> None:
        self._files = files
        self._memory = memory
        self._time = time
        self._gap_tracker = gap_tracker
        self._settings = settings
        self._location = location
        self._end_of_gap_log = end_of_gap_log(files.root)
        self._until, self._recording = memory.until, memory.recording
        self._mode = memory.mode
        self._asked = memory.asked_before
        self._number = memory.last_number + 1
        self._before: Before | None = None
        self._reading, self._noting = threading.Lock(), threading.Lock()
        self._is_noted = False

    def poll(self) -> None:
        """Read what the files tell; nothing is written."""
        with self._reading:
            if self._before is None:
                self._before = self._read()

    def note(self, began: Instant) -> None:
        """Write what is missing up to ``began``; in continuous mode the gap stays open until the first sample."""
        self.poll()
        with self._noting:
            if self._before is not None and not self._is_noted:
                self._note(self._before, began)
                self._is_noted = True

    def recount(self, days: DayBook, began: Instant) -> None:
        """Let the sums of days have what the files of earlier runs tell; to be called before ``note``."""
        self.poll()
        if self._before is not None:
            gap = self._before.left_open
            days.recount(self._before.found, began, gap.start if gap is not None else None)

    def judge(self) -> None:
        """Let the calendar tell what was missing in absences, as far as the clock is right; not for the recorder."""
        if self._is_noted and self._memory.absences:
            absences = self._memory.absences
            self._memory.begin(self._settings.mode, self._judged(absences))

    # reading

    def _read(self) -> Before:
        gaps = [
            gap
            for gap in last_gaps(self._files.root, self._end_of_gap_log)
            if not gap.recording_id or _fills(gap)
        ]
        open_gap = next((gap for gap in reversed(gaps) if gap.is_open), None)
        first = self._recording if self._recording is not None else self._number - NEWEST
        if open_gap is not None and open_gap.before_number:
            first = min(first, open_gap.before_number)
        found = stretches(self._files, since_number=first, recorders=self._recording)
        after = [stretch for stretch in found if open_gap is not None and self._follows(stretch, open_gap)]
        ends = [end for gap in reversed(gaps) if (end := _end_of_gap(gap)) is not None]
        ends += [absence.until for absence in self._memory.absences]
        ends += [self._until] if self._until is not None else []
        ends += [stretch.ended for stretch in found]
        return Before(open_gap, after[0].began if after else None, self._newest(ends), found)

    def _follows(self, stretch: RecordedSpan, gap: Gap) -> bool:
        """Whether a file was recorded after a gap had opened."""
        if gap.before_number:
            return stretch.number >= gap.before_number
        return (self._time.elapsed_ms(gap.start, stretch.began) or 0) > 0

    def _newest(self, moments: list[Instant]) -> Instant | None:
        """Return the newest of some moments; of boots that cannot be compared, the one that comes first here."""
        newest: Instant | None = None
        for moment in moments:
            if newest is None or (self._time.elapsed_ms(newest, moment) or 0) > 0:
                newest = moment
        return newest

    # noting

    def _note(self, before: Before, began: Instant) -> None:
        since, gap = before.until, before.left_open
        absences = self._memory.absences
        is_by_calendar = self._settings.mode == "schedule"
        asked = self._asked
        asked_until = None if asked is None else self._wanted_until(asked, began)
        is_the_calendars = (
            gap is not None and before.closed_at is None and is_by_calendar and asked_until is None
        )
        if gap is not None and is_the_calendars:
            since = gap.start
            absences = [absence for absence in absences if absence.since != since]
        elif gap is not None:
            goes_on = gap.cause is Cause.NOT_RUNNING and self._settings.mode in ALWAYS and asked_until is None
            since = self._close(gap, before, asked_until or began, goes_on=goes_on)
        if asked is not None and asked_until is not None:
            if is_by_calendar and since is not None and (self._time.elapsed_ms(since, asked.since) or 0) > 0:
                absences.append(Absence(since, asked.since))  # the file that it ended had not taken all
            since = self._cut_short(asked, since, asked_until)
        if since is not None and self._is_missing(since, began):
            if is_by_calendar:
                absences.append(Absence(since, began))
            else:
                self._gap_tracker.lost(Cause.NOT_RUNNING, since)
        self._memory.begin(self._settings.mode, self._at_most(absences), began)
        if gap is not None and is_the_calendars:
            self._write(gap, gap.start)  # the calendar tells how much of it was wanted

    def _is_missing(self, since: Instant, began: Instant) -> bool:
        """Whether a time before this start may have been wanted; clocks of two boots may disagree."""
        if "manual" in {self._mode, self._settings.mode}:
            return False
        return since.boot_id == began.boot_id or (self._time.elapsed_ms(since, began) or 0) >= 0

    def _wanted_until(self, asked: Asked, began: Instant) -> Instant | None:
        """Return up to when a manual recording was wanted in which an earlier run ended: until this start at most.

        None: where it is listened always it makes no difference.
        """
        if self._settings.mode in ALWAYS and self._mode != "manual":
            return None
        since, longest = asked.since, asked.milliseconds
        elapsed = self._time.elapsed_ms(since, began)
        if longest is None or (elapsed is not None and elapsed <= longest):
            return not_before(since, began)
        return Instant(since.wall_ms + longest, since.boot_id, since.boot_ms + longest, since.clock)

    def _cut_short(self, asked: Asked, since: Instant | None, until: Instant) -> Instant:
        """Note what is missing of a manual recording; return up to when all is accounted for then."""
        since = asked.since if since is None else (self._newest([since, asked.since]) or since)
        length = self._time.elapsed_ms(since, until)
        if length is not None and length <= 0:
            return since
        self._gap_tracker.write(Gap(Cause.NOT_RUNNING, since, until, length))
        return until

    def _close(self, gap: Gap, before: Before, end: Instant, *, goes_on: bool) -> Instant | None:
        """End a gap that an earlier run had open, or go on with it; return up to when all is accounted for then."""
        if before.closed_at is not None:
            self._write(gap, before.closed_at)
            return before.until
        if goes_on:
            self._gap_tracker.go_on(gap)
            return None
        end = not_before(gap.start, end)
        self._write(gap, end)
        return end

    def _write(self, gap: Gap, end: Instant) -> None:
        self._gap_tracker.write(
            Gap(gap.cause, gap.start, end, positive(self._time.elapsed_ms(gap.start, end)))
        )

    def _judged(self, absences: list[Absence]) -> list[Absence]:
        """Note the windows of the schedule that were open in some absences; return those that cannot be judged yet."""
        return [
            absence
            for absence in absences
            if not is_certain(absence, self._time) or not self._write_missed(absence)
        ]

    def _write_missed(self, absence: Absence) -> bool:
        """Write what was wanted of an absence; return whether that is durable."""
        gap = missed(absence, self._settings, self._time, self._location)
        return gap is None or self._gap_tracker.write(gap)

    def _at_most(self, absences: list[Absence]) -> list[Absence]:
        """Judge the oldest of too many absences by the clocks as they are: better that than forgotten."""
        while len(absences) > MOST_ABSENCES:
            self._write_missed(absences.pop(0))
        return absences


def _fills(gap: Gap) -> bool:
    """Whether a gap with a recording fills time that no file has."""
    return gap.cause is Cause.TOO_SHORT


def _end_of_gap(gap: Gap) -> Instant | None:
    if gap.end is not None or gap.milliseconds is None:
        return gap.end
    return gap.start.later(gap.milliseconds)
