"""The state machine between a source and the outbox: what is wanted, what is there, what is being written."""

from agent.audio.source import EndOfSource, SourceLost
from agent.errors import AgentError
from agent.gaps.log import Cause
from agent.log import get_logger
from agent.recording.asked.requests import ManualRequest, MarkRequest, StopRequest, muted, nothing_to_mark
from agent.recording.listener import HeardBlock
from agent.recording.session import Session
from agent.recording.session_in_hand import SessionInHand
from agent.recording.triggers import manual_session
from agent.status.board import State

log = get_logger(__name__)

READ_SECONDS = 0.25
"""How long one wait for sound may take; requests and the calendar are looked at in between."""
IDLE_SECONDS = 1.0
"""How often the calendar is asked while nothing is recorded."""
CAUGHT_UP_BLOCKS = 3
"""So many may lie in the pipe when somebody asks for something: the microphone takes some at a time."""


class Recorder(SessionInHand):
    """Reads the source in its own thread and keeps the session that is wanted; ``run`` returns after ``stop``.

    With ``unattended`` every fault is said, noted in the gap log and tried again; without it the first one is raised,
    and the recorder ends with its one recording.
    """

    @property
    def records_unasked(self) -> bool:
        """Whether what is heard now is recorded without being asked for: of a voice only while there is one."""
        spec = self._trigger.spec()
        return spec is not None and (not spec.is_voiced or self._session is not None)

    @property
    def manual(self) -> ManualRequest | None:
        """The manual recording that runs."""
        return self._manual

    def start(self, request: ManualRequest) -> None:
        """Ask for a manual recording; one that runs is ended first."""
        request.asked_at = self._clock.boottime()
        super().start(request)

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
            self._stop_listening()
            self._end_session()
            self._account.close()
            self._listener.close()
            self._board.report(state=State.STOPPED, recording=None)

    def _turn(self) -> None:
        self._obey()
        if self.is_muted:
            self._stop_listening()
            self._end_session(nothing_because="the recorder was muted")
            self._standby.forget()
            self._rest()
            return
        if self._board.snapshot.state is State.MUTED:
            self._board.report(state=State.IDLE)
        if self._session is None and not self._begin():
            if not self._keeps_last():
                self._rest()
                return
            self._begin_account()
            self._account.not_wanted()
        if self._spec is not None and not self._listener.is_listening:
            self._begin_account()
            self._account.wanted(self._spec.since)
        self._listen(READ_SECONDS)
        if self._session is not None and self._over(self._session):
            self._end_session()

    def _obey(self) -> None:
        self._wake.clear()
        if not self._requests.empty():
            self._catch_up()
        while not self._requests.empty():
            request = self._requests.get()
            if isinstance(request, MarkRequest):
                self._put_mark(request)
            elif isinstance(request, StopRequest):
                if self._manual is not None and request.of in {None, self._manual}:
                    self._end_session()
            elif self.is_muted:
                request.error = muted()
                request.done.set()
            else:
                self._stop_listening()  # ends the stretch that is open, before its end could be taken for the manual's
                self._end_session()
                self._begin_account()  # what an earlier run was asked for is noted before it is forgotten
                self._account.asked(request.seconds, self._spec, is_listening=self._listener.is_listening)
                self._manual = request  # who looks at it may say that a kill does not make it forgotten
                self._source_ended = False

    def _catch_up(self) -> None:
        """Take what was captured before somebody asked for something, and still lies in the pipe."""
        for _ in range(CAUGHT_UP_BLOCKS):
            if self.is_muted or self._session is None or not self._listener.has_more:
                return
            self._listen(0)

    def _put_mark(self, request: MarkRequest) -> None:
        if self._session is not None and (self._session.open_segment or self._listener.is_listening):
            self._session.marks.append(request)
        else:
            request.refuse(nothing_to_mark())

    def _begin(self) -> bool:
        """Begin the session that is wanted, if there is one and the disk has room."""
        manual = self._manual
        spec = manual_session(manual, self._settings) if manual else self._trigger.spec()
        if self._standby.for_voice:
            if spec == self._spec:
                return True
            self._stop_listening()
        self._spec = spec
        if spec is None or self._source_ended or self._storage.waits:
            return False
        if not self._has_room():
            return False
        if spec.is_voiced:
            self._standby.listen_for_voice()
        else:
            self._begin_session(spec)
        return True

    def _keeps_last(self) -> bool:
        """Whether it is listened to keep the last minutes, while nothing is wanted."""
        return self._standby.keeps and self._spec is None and not (self._source_ended or self._storage.waits)

    def _over(self, session: Session) -> bool:
        """Whether the session is over."""
        if session.complete:
            return True
        if self._manual is None:
            return self._trigger.spec() != self._spec
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
            self._stop_listening()
            self._end_session()
            self._source_ended = True
            log.info("the file was recorded to its end", action="source_ended")
            return
        if heard is not None:
            self._begin_account()
            if heard.resumed and self._spec is not None:
                is_for_voice = self._standby.for_voice
                self._stop_listening()
                self._finish_segment()
                self._account.slept()
                if is_for_voice:
                    self._standby.listen_for_voice()
            self._take(heard)
            self._board.progress()
            self._check_storage()
        elif not self._listener.is_listening:
            self._board.progress()
            if self._listener.is_missing:
                self._show_no_microphone()

    def _take(self, heard: HeardBlock) -> None:
        """Record what was heard, listen to it for a voice, or keep it."""
        if self._standby.for_voice:
            for event in self._standby.hear(heard, is_recording=self._session is not None):
                self._follow(event)
            if self._session is None and self._standby.for_voice:
                self._standby.watch.account()
                self._board.report(state=State.LISTENING, recording=None, fault=None)
        elif self._session is not None:
            self._write(heard)
        elif self._spec is None:  # else the disk has just refused what is wanted
            self._account.not_wanted()
            try:
                self._standby.keep(heard)
            except AgentError as error:
                self._stop_and_wait(error, State.FAULT, Cause.FAULT)
                return
            self._board.report(state=State.LISTENING, recording=None, fault=None)

    def _rest(self) -> None:
        """Nothing is recorded: let go of the device, and wait for a session, or for the mute to end."""
        self._standby.forget()
        self._listener.close()
        if self.is_muted:
            self._spec = self._trigger.spec()
        self._begin_account()
        is_wanted = self._spec is not None and not self._source_ended
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
        while self._stopped_at is not None and not self.is_muted:
            if self._session is None and not self._standby.for_voice:
                return
            try:
                heard = self._listener.read(0)
            except (SourceLost, EndOfSource):
                return
            if heard is None or heard.block.captured_at > self._stopped_at:
                return
            self._take(heard)
