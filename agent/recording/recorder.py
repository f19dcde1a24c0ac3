"""The state machine between a source and the outbox: what is wanted, what is there, what is being written."""

import queue
import threading
from collections.abc import Callable

import structlog

from agent.audio.level import LevelMeter
from agent.audio.source import Block, EndOfSource, Source, SourceLost, SourceState
from agent.config import RecordingConfig
from agent.errors import AgentError
from agent.recording.session import Session, Workshop, no_listener
from agent.recording.triggers import ManualRequest, Trigger, Wish
from agent.status.board import Board, RecordingNow, State

log = structlog.get_logger()

READ_SECONDS = 0.25
"""How long one wait for sound may take; requests and wishes are looked at in between."""
IDLE_SECONDS = 1.0
"""How often the calendar is asked while nothing is recorded."""
STORAGE_RETRY_SECONDS = 10.0
"""How often a full or failing disk is tried again."""


class Recorder:
    """Reads the source in its own thread and keeps the session that is wanted; ``run`` returns after ``stop``."""

    def __init__(
        self,
        source: Source,
        trigger: Trigger,
        workshop: Workshop,
        settings: RecordingConfig,
        board: Board,
        *,
        storage_problem: Callable[[], str | None] = lambda: None,
        unattended: bool = True,
    ) -> None:
        self._source = source
        self._trigger = trigger
        self._workshop = workshop
        self._settings = settings
        self._board = board
        self._storage_problem = storage_problem
        self._unattended = unattended
        self._clock = workshop.clock
        self._requests: queue.SimpleQueue[ManualRequest | None] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._stopped_at: float | None = None
        self._session: Session | None = None
        self._wish: Wish | None = None
        self._manual: ManualRequest | None = None
        self._deadline: float | None = None
        self._storage_retry_at = 0.0
        self._source_ended = False
        self._meter = LevelMeter(source.sample_rate, source.channels)
        board.level_dbfs = self._meter.dbfs

    # asked from other threads

    def start(self, request: ManualRequest) -> None:
        """Ask for a manual recording; one that runs is ended first."""
        self._requests.put(request)
        self._wake.set()

    def stop_manual(self) -> None:
        """End the manual recording that runs, if one does."""
        self._requests.put(None)
        self._wake.set()

    @property
    def manual(self) -> ManualRequest | None:
        """The manual recording that runs."""
        return self._manual

    def stop(self) -> None:
        """End everything: what was captured until now is finished, then ``run`` returns."""
        self._stopped_at = self._clock.monotonic()
        self._wake.set()

    # the recording thread

    def run(self) -> None:
        """Record until ``stop``.

        Raises:
            AgentError, OSError: only when not ``unattended``; what was captured is finished first.
        """
        try:
            while self._stopped_at is None:
                self._turn()
                if not self._unattended and self._manual is None and self._requests.empty():
                    break
            self._drain()
        finally:
            self._end_session()
            self._source.close()
            self._board.report(state=State.STOPPED, recording=None)

    def _turn(self) -> None:
        self._obey()
        if self._session is None and not self._begin():
            self._rest()
            return
        self._listen(READ_SECONDS)
        if self._session is not None and self._over(self._session):
            self._end_session()

    def _obey(self) -> None:
        self._wake.clear()
        while not self._requests.empty():
            request = self._requests.get()
            if self._manual is not None or request is not None:
                self._end_session()
            if request is not None:
                self._manual = request
                self._source_ended = False

    def _begin(self) -> bool:
        """Begin the session that is wanted, if there is one and the disk has room."""
        manual = self._manual
        wish = self._wish = manual_wish(manual, self._settings) if manual else self._trigger.wish()
        if wish is None or self._source_ended or self._clock.monotonic() < self._storage_retry_at:
            return False
        problem = self._storage_problem()
        if problem is not None:
            self._storage_failed(problem)
            return False
        self._session = Session(
            self._workshop,
            wish.mode,
            sample_rate=self._source.sample_rate,
            channels=self._source.channels,
            segment_seconds=wish.segment_seconds,
            total_seconds=manual.seconds if manual else None,
            name=manual.name if manual else None,
            metadata=self._settings.metadata | (manual.metadata if manual else {}),
            on_finished=manual.finished_ids.append if manual else no_listener,
        )
        if manual and manual.seconds is not None:
            self._deadline = self._clock.monotonic() + manual.seconds
        return True

    def _over(self, session: Session) -> bool:
        """Whether the session's wish has ended."""
        if session.complete:
            return True
        if self._manual is None:
            return self._trigger.wish() != self._wish
        silent = session.open_segment is None and self._source.state is not SourceState.LISTENING
        return silent and self._deadline is not None and self._clock.monotonic() > self._deadline

    def _listen(self, timeout: float) -> bool:
        """Read one block and write it; return whether there was one."""
        try:
            block = self._source.read(timeout)
        except SourceLost as lost:
            self._lose_source(lost)
            return False
        except EndOfSource:
            self._end_session()
            self._source_ended = True
            log.info("the file was recorded to its end", action="source_ended", source=self._source.name)
            return False
        self._report_source(block)
        if block is not None:
            self._meter.feed(block.samples)
            self._write(block)
        return block is not None

    def _write(self, block: Block) -> None:
        while self._session is not None and block.samples:
            session = self._session
            try:
                rest = session.take(block)
            except OSError as error:
                self._disk_failed(session, error)
                return
            self._note_segments(session)
            if not rest:
                return
            block = block._replace(samples=rest)
            self._end_session()
            if self._unattended:
                self._begin()

    def _note_segments(self, session: Session) -> None:
        segment = session.open_segment
        if self._manual is not None and session.segments:
            self._manual.started.set()
        now = None
        if segment is not None:
            now = RecordingNow(segment.start.id, segment.start.started.wall_ms, segment.duration_ms, segment.size_bytes)
            before = self._board.snapshot.recording
            if before is None or before.id != now.id:
                log.info(
                    "recording",
                    action="recording_started",
                    id=now.id,
                    mode=session.mode,
                    seq=segment.start.seq,
                    segment=segment.start.segment,
                    clock=segment.start.started.clock,
                )
        self._board.report(state=State.RECORDING, recording=now, fault=None)

    def _report_source(self, block: Block | None) -> None:
        state = self._source.state
        if block is not None or state is not SourceState.LISTENING:
            self._board.progress()
        if block is None and state in {SourceState.LOST, SourceState.WEDGED, SourceState.WAITING}:
            self._board.report(state=State.NO_MICROPHONE, recording=None)
        if state != self._board.snapshot.microphone_state:
            self._board.report(
                microphone_state=state.value,
                microphone_id=self._source.identity,
                microphone_name=self._source.name,
            )

    def _lose_source(self, lost: SourceLost) -> None:
        self._finish_segment()
        self._board.report(
            state=State.NO_MICROPHONE, recording=None, microphone_state=self._source.state.value
        )
        if not self._unattended:
            self._end_session()
            raise lost

    def _finish_segment(self) -> None:
        """Finish what is open without ending the session."""
        session = self._session
        if session is None:
            return
        try:
            session.cut()
        except OSError as error:
            self._disk_failed(session, error)
        self._board.report(recording=None)

    def _end_session(self) -> None:
        self._finish_segment()
        session, self._session = self._session, None
        manual, self._manual = self._manual, None
        self._deadline = None
        if manual is not None:
            if session is None or not session.segments:
                manual.error = manual.error or "nothing was recorded: no sound came from the microphone"
            manual.done.set()

    def _disk_failed(self, session: Session, error: OSError) -> None:
        session.abandon()
        self._session = None
        folder = self._workshop.sink.recording_folder
        self._storage_failed(
            f"the recording cannot be written to {folder}: {error.strerror or error}; "
            "free some space or replace the disk"
        )

    def _storage_failed(self, problem: str) -> None:
        if self._manual is not None:
            self._manual.error = problem
        if not self._unattended:
            raise AgentError(problem)
        self._end_session()
        self._storage_retry_at = self._clock.monotonic() + STORAGE_RETRY_SECONDS
        repeated = self._board.snapshot.state is State.STORAGE_FULL
        (log.debug if repeated else log.error)(
            "recording has stopped", action="storage_refused", reason=problem
        )
        self._board.report(state=State.STORAGE_FULL, recording=None, fault=problem)

    def _rest(self) -> None:
        """Nothing is recorded: let go of the device, and wait for a wish."""
        self._source.close()
        if self._wish is None or self._source_ended:
            self._board.report(state=State.IDLE, recording=None, fault=None)
        self._board.report(microphone_state=self._source.state.value)
        self._board.progress()
        self._clock.wait(self._wake, IDLE_SECONDS)

    def _drain(self) -> None:
        """Take what was captured before the stop and still lies in the pipe."""
        while self._session is not None and self._stopped_at is not None:
            try:
                block = self._source.read(0)
            except (SourceLost, EndOfSource):
                return
            if block is None or block.captured_at > self._stopped_at:
                return
            self._write(block)


def manual_wish(request: ManualRequest, settings: RecordingConfig) -> Wish:
    """Return the wish of a manual recording: one file up to ``max_seconds``, then the next without a gap."""
    return Wish("manual", settings.max_seconds, request)
