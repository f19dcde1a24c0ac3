"""The state machine between a source and the outbox: what is wanted, what is there, what is being written."""

from collections.abc import Callable

from agent.audio.source import EndOfSource, Source, SourceLost
from agent.clock import Instant
from agent.config.schema import RecordingConfig
from agent.errors import AgentError
from agent.gaps.log import Cause
from agent.log import get_logger
from agent.recording.inbox import Inbox
from agent.recording.listener import Heard, Listener
from agent.recording.mute import Mute
from agent.recording.requests import MUTED, NOTHING_TO_MARK, ManualRequest, MarkRequest, StopRequest
from agent.recording.session import SegmentFactory, Session, no_listener
from agent.recording.storage_watch import StorageFault, StorageWatch
from agent.recording.time_account import TimeAccount
from agent.recording.triggers import SessionSpec, Trigger, manual_session
from agent.status.board import Board, RecordingNow, State

log = get_logger(__name__)

READ_SECONDS = 0.25
"""How long one wait for sound may take; requests and wishes are looked at in between."""
IDLE_SECONDS = 1.0
"""How often the calendar is asked while nothing is recorded."""


class Recorder(Inbox):
    """Reads the source in its own thread and keeps the session that is wanted; ``run`` returns after ``stop``.

    ``storage_problem`` returns a sentence when there is no room, and raises what the disk raises; it is given whether
    the disk was full until now, and then asks for a margin. With ``unattended`` every fault is said, noted in the
    ledger and tried again; without it the first one is raised, and the recorder ends with its one recording.
    """

    def __init__(
        self,
        source: Source,
        trigger: Trigger,
        segment_factory: SegmentFactory,
        settings: RecordingConfig,
        board: Board,
        *,
        storage_problem: Callable[[bool], str | None] = lambda _was_full: None,
        disk_full: Callable[[], object] = lambda: None,
        mute: Mute | None = None,
        before: Callable[[Instant], object] = lambda _began: None,
        unattended: bool = True,
    ) -> None:
        self._listener = Listener(source, board, segment_factory.clock)
        self._trigger = trigger
        self._workshop = segment_factory
        self._settings = settings
        self._board = board
        self._tell_disk_full = disk_full
        self.disk_fails = False
        """Whether the disk itself fails, since it was last written to."""
        super().__init__(mute)
        self._unattended = unattended
        self._clock = segment_factory.clock
        self._storage = StorageWatch(
            storage_problem, segment_factory.clock.monotonic, segment_factory.sink.recording_folder
        )
        self._stopped_at: float | None = None
        self._session: Session | None = None
        self._wish: SessionSpec | None = None
        self._manual: ManualRequest | None = None
        self._deadline: float | None = None
        self._source_ended = False
        self._account = TimeAccount(segment_factory, trigger, before, unattended=unattended)

    @property
    def records_unasked(self) -> bool:
        """Whether the settings want a recording now."""
        return self._trigger.wish() is not None

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
            AgentError: only when not ``unattended``; what was captured is finished first.
        """
        try:
            while self._stopped_at is None:
                self._turn()
                if not self._unattended and self._manual is None and self._requests.empty():
                    break
            self._drain()
        finally:
            self._begin_account()
            self._end_session()
            self._account.close()
            self._listener.close()
            self._board.report(state=State.STOPPED, recording=None)

    def _turn(self) -> None:
        self._obey()
        if self.is_muted:
            self._end_session(nothing_because="the recorder was muted")
            self._rest()
            return
        if self._board.snapshot.state is State.MUTED:
            self._board.report(state=State.IDLE)
        if self._session is None and not self._begin():
            self._rest()
            return
        if self._wish is not None and not self._listener.is_listening:
            self._begin_account()
            self._account.wanted(self._wish.since)
        self._listen(READ_SECONDS)
        if self._session is not None and self._over(self._session):
            self._end_session()

    def _obey(self) -> None:
        self._wake.clear()
        while not self._requests.empty():
            request = self._requests.get()
            if isinstance(request, MarkRequest):
                self._put_mark(request)
            elif isinstance(request, StopRequest):
                if self._manual is not None and request.of in {None, self._manual}:
                    self._end_session()
            elif self.is_muted:
                request.error = MUTED
                request.done.set()
            else:
                self._end_session()
                self._manual = request
                self._source_ended = False
                self._account.asked(request.seconds, self._wish, is_listening=self._listener.is_listening)

    def _put_mark(self, request: MarkRequest) -> None:
        if self._session is not None and (self._session.open_segment or self._listener.is_listening):
            self._session.marks.append(request)
        else:
            request.refuse(NOTHING_TO_MARK)

    def _begin(self) -> bool:
        """Begin the session that is wanted, if there is one and the disk has room."""
        manual = self._manual
        wish = self._wish = manual_session(manual, self._settings) if manual else self._trigger.wish()
        if wish is None or self._source_ended or self._storage.rests:
            return False
        fault = self._storage.fault_to_begin(was_full=self._board.snapshot.state is State.STORAGE_FULL)
        if fault is not None:
            self._storage_failed(fault)
            return False
        self._session = Session(
            self._workshop,
            wish.mode,
            sample_rate=self._listener.sample_rate,
            channels=self._listener.channels,
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
        quiet = session.open_segment is None and not self._listener.is_listening
        return quiet and self._deadline is not None and self._clock.monotonic() > self._deadline

    def _listen(self, timeout: float) -> None:
        """Read one block and write it."""
        try:
            heard = self._listener.read(timeout)
        except SourceLost as lost:
            self._lose_source(lost)
            return
        except EndOfSource:
            self._end_session()
            self._source_ended = True
            log.info("the file was recorded to its end", action="source_ended")
            return
        if heard is not None:
            self._begin_account()
            if heard.resumed:
                self._finish_segment()
                self._account.lost(Cause.NOT_RUNNING)
            self._write(heard)
            self._board.progress()
            self._check_storage()
        elif not self._listener.is_listening:
            self._board.progress()
            if self._listener.is_missing:
                self._show_no_microphone()

    def _begin_account(self) -> None:
        if not self._account.is_begun:
            is_wanted = self._trigger.wish() is not None
            cause = Cause.MUTED if self.is_muted else Cause.NOT_RUNNING
            self._account.begin(cause if is_wanted else None)

    def _write(self, heard: Heard | None) -> None:
        """Write what was heard, as far as the disk takes it."""
        while self._session is not None and heard is not None:
            session = self._session
            try:
                heard = session.take(heard)
            except OSError as error:
                self._disk_failed(session, error)
                return
            except AgentError as error:
                self._cannot_record(session, error)
                return
            self._show(session)
            if heard is not None:
                self._end_session()
                if self._unattended:
                    self._begin()

    def _show(self, session: Session) -> None:
        if self._manual is not None and session.segments:
            self._manual.started.set()
        segment = session.open_segment
        now = None
        if segment is not None:
            start = segment.start
            now = RecordingNow(start.id, start.started.wall_ms, segment.duration_ms, segment.size_bytes)
        self.disk_fails = False
        self._board.report(state=State.RECORDING, recording=now, fault=None)

    def _check_storage(self) -> None:
        session = self._session
        if session is None:
            return
        fault = self._storage.fault_while_recording(session.samples, session.sample_rate)
        if fault is not None:
            self._finish_segment()
            self._storage_failed(fault)

    # what goes wrong

    def _lost(self, cause: Cause) -> None:
        self._begin_account()
        self._account.lost(cause)

    def _lose_source(self, lost: SourceLost) -> None:
        self._finish_segment()
        self._lost(Cause.NO_MICROPHONE)
        self._show_no_microphone()
        if not self._unattended:
            self._end_session()
            raise lost

    def _show_no_microphone(self) -> None:
        self._board.report(state=State.NO_MICROPHONE, recording=None, fault=self._listener.last_error)

    def _cannot_record(self, session: Session, error: AgentError) -> None:
        """Show what cannot be healed from here, and try again after a while; attended, it is an error."""
        if not self._unattended:
            raise error
        session.abandon()
        self._lost(Cause.FAULT)
        self._session = None
        self._rest_for(str(error), State.FAULT, Cause.FAULT)

    def _disk_failed(self, session: Session, error: OSError) -> None:
        session.abandon()
        self._lost(Cause.STORAGE)
        self._session = None
        fault = self._storage.fault_of(error)
        if fault.state is State.STORAGE_FULL:
            self._tell_disk_full()
        self._storage_failed(fault)

    def _storage_failed(self, fault: StorageFault) -> None:
        self.disk_fails = fault.disk_fails
        self._rest_for(fault.sentence, fault.state, Cause.STORAGE)

    def _rest_for(self, problem: str, state: State, cause: Cause) -> None:
        """Show why nothing can be recorded, and let it rest a little; attended, it is an error."""
        if self._manual is not None:
            self._manual.error = problem
        if not self._unattended:
            raise AgentError(problem)
        self._end_session()
        self._lost(cause)
        self._storage.failed()
        before = self._board.snapshot
        is_known = before.state is state and (state is State.STORAGE_FULL or before.fault == problem)
        level = log.debug if is_known else log.error
        level(
            "recording has stopped",
            action="storage_refused" if state is State.STORAGE_FULL else "recorder_fault",
            reason=problem,
        )
        self._board.report(state=state, recording=None, fault=problem)

    # ends

    def _finish_segment(self) -> None:
        """Finish what is open without ending the session."""
        session = self._session
        if session is None:
            return
        has_slept = session.open_segment is not None and self._listener.has_slept
        try:
            session.interrupt()
        except OSError as error:
            self._disk_failed(session, error)
        if has_slept:
            self._account.lost(Cause.NOT_RUNNING)
        self._board.report(recording=None)

    def _end_session(self, nothing_because: str = "no sound came from the microphone") -> None:
        if self._manual is not None and self._stopped_at is None:
            self._account.asked_ends()
        self._finish_segment()
        session, manual = self._session, self._manual
        self._session = self._manual = self._deadline = None
        if manual is not None:
            if session is None or not session.segments:
                manual.error = manual.error or f"nothing was recorded: {nothing_because}"
            manual.done.set()

    def _rest(self) -> None:
        """Nothing is recorded: let go of the device, and wait for a wish, or for the mute to end."""
        self._listener.close()
        if self.is_muted:
            self._wish = self._trigger.wish()
        self._begin_account()
        is_wanted = self._wish is not None and not self._source_ended
        if not is_wanted:
            self._account.not_wanted()
        elif self.is_muted:
            self._lost(Cause.MUTED)
        if self.is_muted or not is_wanted:
            state = State.MUTED if self.is_muted else State.IDLE
            self._board.report(state=state, recording=None, fault=None)
        self._board.progress()
        self._clock.wait(self._wake, IDLE_SECONDS)

    def _drain(self) -> None:
        """Take what was captured before the stop and still lies in the pipe."""
        while self._session is not None and self._stopped_at is not None and not self.is_muted:
            try:
                heard = self._listener.read(0)
            except (SourceLost, EndOfSource):
                return
            if heard is None or heard.block.captured_at > self._stopped_at:
                return
            self._write(heard)
