"""The session that a recorder has in hand: how it begins, is written, fails, and ends."""

from collections.abc import Callable
from typing import NamedTuple

from agent.audio.source import Source, SourceLost
from agent.clock import Instant
from agent.environment import Environment
from agent.errors import AgentError
from agent.gaps.log import Cause
from agent.hints import typed
from agent.log import get_logger
from agent.recording.asked.inbox import Inbox
from agent.recording.asked.mute import Mute
from agent.recording.asked.requests import ManualRequest  # noqa: TC001 - no second way to import
from agent.recording.listener import HeardBlock, Listener
from agent.recording.listening.standby import Standby, StandbySettings
from agent.recording.listening.voice import Begin, End, Event, Write
from agent.recording.segment_factory import SegmentFactory
from agent.recording.session import Session
from agent.recording.storage_watch import StorageFault, StorageWatch
from agent.recording.time_account import TimeAccount
from agent.recording.triggers import SessionSpec, Trigger
from agent.status.board import RecordingNow, State

log = get_logger(__name__)


class Unattended(NamedTuple):
    """What a recorder has that runs by itself."""

    mute: Mute | None = None
    before: Callable[[Instant], object] = lambda _began: None
    """Accounts for the time before its start."""
    standby: StandbySettings = StandbySettings()


class SessionInHand(Inbox):
    """What a ``Recorder`` works with, and what it does to its session; one thread."""

    def __init__(
        self,
        environment: Environment,
        source: Source,
        trigger: Trigger,
        segment_factory: SegmentFactory,
        storage: StorageWatch,
        unattended: Unattended | None,
    ) -> None:
        self._board, self._clock = environment.board, environment.clock
        self._settings = environment.config.recording
        self._listener = Listener(source, self._board, self._clock)
        self._trigger = trigger
        self._segment_factory = segment_factory
        self._storage = storage
        self.disk_fails = False
        """Whether the disk itself fails, since it was last written to."""
        self._unattended = unattended is not None
        with_ = unattended or Unattended()
        super().__init__(with_.mute)
        self._stopped_at: float | None = None
        self._session: Session | None = None
        self._spec: SessionSpec | None = None
        self._manual: ManualRequest | None = None
        self._deadline: float | None = None
        self._source_ended = False
        self._account = TimeAccount(segment_factory, trigger, with_.before, unattended=self._unattended)
        self._standby = Standby(with_.standby, segment_factory, source.sample_rate, source.channels)

    def _begin(self) -> bool:
        """Begin what is wanted, if something is and the disk has room."""
        raise NotImplementedError

    def _take(self, heard: HeardBlock) -> None:
        """Record what was heard, listen to it for a voice, or keep it."""
        raise NotImplementedError

    def _keeps_last(self) -> bool:
        """Whether it is listened to keep the last minutes, while nothing is wanted."""
        raise NotImplementedError

    def _storage_fault(self) -> StorageFault | None:
        return self._storage.fault_to_begin(was_full=self._board.snapshot.state is State.STORAGE_FULL)

    def _has_room(self) -> bool:
        fault = self._storage_fault()
        if fault is not None:
            self._storage_failed(fault)
        return fault is None

    def _begin_session(self, spec: SessionSpec) -> None:
        manual = self._manual
        session = self._session = Session(
            self._segment_factory, spec, self._listener.sample_rate, self._listener.channels, manual
        )
        if manual and manual.seconds is not None:
            self._deadline = self._clock.monotonic() + manual.seconds
        prelude = self._standby.release(manual.asked_at) if manual else None
        if prelude is not None and manual is not None and not manual.from_now:
            self._try(session, lambda: session.begin_with(prelude, manual.asked_at))

    def _begin_account(self) -> None:
        if not self._account.is_begun:
            is_wanted = self._trigger.spec() is not None
            cause = Cause.MUTED if self.is_muted else Cause.NOT_RUNNING
            self._account.begin(cause if is_wanted else None)

    def _follow(self, event: Event) -> None:
        """Do what the voice gate says; after a failure the rest of a stretch is passed over."""
        if isinstance(event, Begin):
            if self._standby.for_voice and self._spec is not None:
                self._begin_stretch(self._spec, event.begins_at)
        elif isinstance(event, Write):
            if self._session is not None:
                self._write(event.heard)
        elif isinstance(event, End):
            self._end_session()
        else:
            self._standby.watch.missed(event)

    def _begin_stretch(self, spec: SessionSpec, begins_at: float) -> None:
        """Begin what a voice has asked for; where there is no room for it, all of it is missing."""
        self._standby.watch.begins(begins_at)
        fault = self._storage_fault()
        if fault is None:
            self._begin_session(spec)
        else:
            self._lost(Cause.STORAGE)
            self._storage_failed(fault)

    def _stop_listening(self) -> None:
        """Listen for no voice any more: what belongs to an open stretch is written, and its session ended."""
        if self._standby.for_voice:
            for event in self._standby.watch.stop():
                self._follow(event)
            self._standby.stop_listening()
            if self._listener.has_slept:
                self._account.slept()

    def _write(self, heard: HeardBlock | None) -> None:
        """Write what was heard, as far as the disk takes it."""
        while self._session is not None and heard is not None:
            session, block = self._session, heard
            heard = self._try(session, lambda: session.take(block))  # noqa: B023 - called at once
            if self._session is not session:
                return
            if heard is not None:
                self._end_session()
                if self._unattended:
                    self._begin()
        if heard is not None and self._session is None and (self._standby.for_voice or self._keeps_last()):
            self._take(heard)  # behind a recording that a person asked for it is listened again at once

    def _try(self, session: Session, write: Callable[[], HeardBlock | None]) -> HeardBlock | None:
        """Let a session write; a failure ends it, and is shown."""
        try:
            rest = write()
        except OSError as error:
            self._disk_failed(session, error)
            return None
        except AgentError as error:
            self._cannot_record(session, error)
            return None
        self._show(session)
        return rest

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
            self._stop_listening()
            self._finish_segment()
            self._storage_failed(fault)

    # what goes wrong

    def _lost(self, cause: Cause) -> None:
        self._begin_account()
        self._account.lost(cause)

    def _lose_source(self, lost: SourceLost) -> None:
        self._stop_listening()
        self._finish_segment()
        self._standby.interrupt()
        if self._spec is not None:
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
        self._stop_and_wait(error, State.FAULT, Cause.FAULT)

    def _disk_failed(self, session: Session, error: OSError) -> None:
        session.abandon()
        self._lost(Cause.STORAGE)
        self._session = None
        fault = self._storage.fault_of(error)
        if fault.state is State.STORAGE_FULL:
            self._storage.tell_full()
        self._storage_failed(fault)

    def _storage_failed(self, fault: StorageFault) -> None:
        self.disk_fails = fault.disk_fails
        self._stop_and_wait(fault.problem, fault.state, Cause.STORAGE)

    def _stop_and_wait(self, problem: AgentError, state: State, cause: Cause) -> None:
        """Show why nothing can be recorded, and wait a little; attended, it is an error."""
        if self._manual is not None:
            self._manual.error = problem
        if not self._unattended:
            raise problem
        self._end_session()
        self._stop_listening()
        self._standby.forget()
        self._lost(cause)
        self._storage.failed()
        before = self._board.snapshot
        is_known = before.state is state and (state is State.STORAGE_FULL or before.fault == str(problem))
        level = log.debug if is_known else log.error
        level(
            "recording has stopped",
            action="storage_refused" if state is State.STORAGE_FULL else "recorder_fault",
            reason=str(problem),
        )
        self._board.report(state=state, recording=None, fault=str(problem), fault_hint=problem.hint)

    # ends

    def _finish_segment(self) -> None:
        """Finish what is open without ending the session."""
        session = self._session
        if session is None:
            return
        # While it is listened for a voice, sound was heard behind the file: the gap begins where that ended.
        is_newest = session.open_segment is not None and not self._standby.for_voice
        has_slept = is_newest and self._listener.has_slept
        try:
            session.interrupt()
        except OSError as error:
            self._disk_failed(session, error)
        if has_slept:
            self._account.slept()
        self._board.report(recording=None)

    def _end_session(self, nothing_because: str = "no sound came from the microphone") -> None:
        if self._manual is not None and self._stopped_at is None:
            self._account.asked_ends()
        self._finish_segment()
        session, manual = self._session, self._manual
        self._session = self._manual = self._deadline = None
        if manual is not None:
            if session is None or not session.segments:
                manual.error = manual.error or AgentError(
                    f"nothing was recorded: {nothing_because}", f"{typed('doctor')} looks at the microphone"
                )
            manual.done.set()
