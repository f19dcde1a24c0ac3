"""What people ask of the recorder, by ``control.sock`` and by the button."""

import threading
from collections.abc import Callable
from typing import Any

from agent.config.values import metadata as metadata_complaint
from agent.control.server import Handler, Peer, Request
from agent.errors import AgentError
from agent.hints import journal
from agent.log import get_logger
from agent.outbox.queue_row import row_of
from agent.panel.led import StatusLed
from agent.recorder.account.days_now import days_now
from agent.recorder.account.gap_rows import gap_rows
from agent.recorder.publisher import Publisher
from agent.recorder.wiring import RecorderWiring
from agent.recording.asked.requests import LONGEST_SECONDS, ManualRequest, MarkRequest
from agent.recording.recorder import Recorder
from agent.status.board import State
from agent.status.words import no_microphone
from agent.zone import zone_of_days

log = get_logger(__name__)

LONGEST_NAME = 255
PROGRESS_SECONDS = 0.5
"""How often a command that waits for a recording hears of it."""
MARK_SECONDS = 5.0
"""How long the recorder may take to note a mark: it may be waiting for a slow disk."""
IDENTIFY_SECONDS = 10.0
"""How long the LED says which device this is, when nobody says how long."""
BLINK_SECONDS = 0.5
"""How long the LED says that a mark was noted."""


class RecorderHandlers:
    """The handlers of the control socket, each in the asking connection's thread, and of the button.

    ``recorder`` gives the recorder, or raises AgentError while there is none. ``reload`` reads the settings anew and
    returns the keys that need a restart.
    """

    def __init__(
        self,
        wiring: RecorderWiring,
        recorder: Callable[[], Recorder],
        publisher: Publisher,
        status_led: StatusLed | None,
        *,
        stopping: threading.Event,
        reload: Callable[[], list[str]],
    ) -> None:
        self._wiring = wiring
        self._recorder = recorder
        self._publisher = publisher
        self._status_led = status_led
        self._stopping = stopping
        self._reload = reload

    @property
    def handlers(self) -> dict[str, Handler]:
        """Every command of the control socket."""
        return {
            "status": lambda _request, _peer: self._publisher.status(),
            "level": self._level,
            "record": self._record,
            "start": self._start,
            "stop": self._stop,
            "mute": self._mute,
            "mark": self._mark,
            "gaps": self._gaps,
            "report": self._report,
            "number": self._number,
            "reload": lambda _request, _peer: {"needs_restart": self._reload()},
            "identify": self._identify,
        }

    # the button

    def pressed(self) -> None:
        """A short press: end the manual recording that runs, else mark what is recorded, else start one."""
        try:
            recorder = self._recorder()
        except AgentError as error:
            log.warning("the button does nothing", action="button_ignored", reason=str(error))
            return
        if recorder.is_muted:
            log.warning("the button does nothing while muted; a long press unmutes", action="button_ignored")
        elif recorder.manual is not None:
            log.info("the button ends the recording", action="button_stop")
            recorder.stop_manual()
        elif recorder.records_unasked:
            try:
                self._put_mark("")
            except AgentError as error:
                log.warning("the button's mark was not noted", action="button_ignored", reason=str(error))
        else:
            log.info("the button starts a recording", action="button_start")
            recorder.start(ManualRequest())

    def held(self) -> None:
        """A long press: mute, or unmute."""
        try:
            self._recorder().turn_mute(on=None)
        except AgentError as error:
            log.warning("the button does nothing", action="button_ignored", reason=str(error))

    # the control socket

    def _level(self, _request: Request, _peer: Peer) -> Any:
        """Tell the level, and enough for whoever shows it to know what the lack of one means."""
        sound, now = self._wiring.board.sound(), self._wiring.board.snapshot
        control = self._wiring.capture_control(now.microphone_id)
        return {
            "level_dbfs": None if sound is None else round(sound.level_dbfs, 1),
            "peak_dbfs": None if sound is None else round(sound.peak_dbfs, 1),
            "clipped_samples": 0 if sound is None else sound.clipped_samples,
            "capture": None if control is None else control.facts,
            "state": now.state.value,
            "microphone": now.microphone_state,
            "name": now.microphone_name or self._wiring.config.audio.input,
            "seconds_to_window": self._publisher.seconds_to_window(),
        }

    def _gaps(self, _request: Request, peer: Peer) -> Any:
        """Tell the gap log to those who may not read it."""
        wiring, unreadable = self._wiring, list[str]()
        rows = gap_rows(wiring.state.path, wiring.config, wiring.time, unreadable.append)
        peer.tell_rows(rows, unreadable=unreadable[:1])
        return {"rows": len(rows)}

    def _report(self, request: Request, peer: Peer) -> Any:
        """Tell the sums of days to those who may not read them."""
        wiring = self._wiring
        rows = days_now(
            wiring.state.path,
            wiring.config.recording,
            wiring.config.location,
            wiring.time,
            wiring.now(),
            zone_name=zone_of_days(),
            count=request.days,
            is_running=True,
        )
        peer.tell_rows(rows)
        return {"rows": len(rows)}

    def _number(self, _request: Request, _peer: Peer) -> Any:
        """Give a sequence number to a command that writes a file of its own, and the binding to write it under."""
        return {"number": self._wiring.memory.next_number(), "binding": self._wiring.binding.current()}

    def _start(self, request: Request, _peer: Peer) -> Any:
        """Start a manual recording that goes on when the asking side has left; answer with its first sample."""
        manual, recorder = _manual(request), self._recorder()
        recorder.start(manual)
        while not manual.started.wait(PROGRESS_SECONDS):
            if manual.done.is_set():
                raise manual.error or AgentError(
                    "the recording ended before its first sample", "start it again"
                )
            if recorder.manual is manual and self._has_no_microphone(manual):
                return {"started": False, "waiting_for": "microphone"}
            if self._stopping.is_set():
                raise AgentError(
                    "the recorder is stopping, and nothing was recorded", "try again when it runs"
                )
        now = self._wiring.board.snapshot.recording
        return {"started": True, "id": now.id if now else None}

    def _stop(self, _request: Request, _peer: Peer) -> Any:
        recorder = self._recorder()
        manual = recorder.manual
        recorder.stop_manual()
        return {"stopped": manual is not None}

    def _mute(self, request: Request, _peer: Peer) -> Any:
        """Mute (``on``: true, the default), or unmute."""
        recorder = self._recorder()
        muted = recorder.turn_mute(on=request.on)
        return {"muted": muted, "durable": recorder.mute_is_durable}

    def _mark(self, request: Request, _peer: Peer) -> Any:
        return self._put_mark(request.text or "")

    def _put_mark(self, text: str) -> dict[str, Any]:
        mark = MarkRequest(self._wiring.clock.boottime(), text)
        self._recorder().mark(mark)
        if not mark.done.wait(MARK_SECONDS):
            raise AgentError("the recorder is busy with a slow disk", "the mark may be late or missing")
        if mark.error:
            raise mark.error
        if self._status_led is not None:
            self._status_led.identify(BLINK_SECONDS)
        return {"id": mark.recording_id, "offset_ms": mark.offset_ms}

    def _record(self, request: Request, peer: Peer) -> Any:
        """Record on request; without a length, for as long as the asking side stays, unless it is ``detached``."""
        manual, recorder = _manual(request), self._recorder()
        detached = request.detached
        recorder.start(manual)
        is_left = False
        while not manual.done.wait(PROGRESS_SECONDS):
            if self._stopping.is_set() and not manual.started.is_set():
                raise AgentError(
                    "the recorder is stopping, and nothing was recorded", "try again when it runs"
                )
            if not detached and self._has_no_microphone(manual):
                recorder.stop_manual(manual)
                now = self._wiring.board.snapshot
                raise no_microphone(now.microphone_name)
            if not is_left and not self._tell_progress(manual, peer):
                is_left = True
                if manual.seconds is None and not detached:
                    recorder.stop_manual(manual)
        if manual.error:
            raise manual.error
        sink, ids = self._wiring.sink, set(manual.finished_ids)
        return [row_of(entry, sink.files) for entry in sink.finished if entry.id in ids]

    def _has_no_microphone(self, manual: ManualRequest) -> bool:
        state = self._wiring.board.snapshot.state
        return state is State.NO_MICROPHONE and not manual.started.is_set()

    def _tell_progress(self, manual: ManualRequest, peer: Peer) -> bool:
        """Return whether the asking side still listens."""
        now = self._wiring.board.snapshot.recording
        if peer.gone():
            return False
        try:
            peer.tell(
                event="recording",
                started=manual.started.is_set(),
                duration_ms=now.duration_ms if now else 0,
                size_bytes=now.size_bytes if now else 0,
                level_dbfs=self._wiring.board.level_dbfs(),
            )
        except OSError:
            return False
        return True

    def _identify(self, request: Request, _peer: Peer) -> Any:
        """Let the LED flicker."""
        if self._status_led is None:
            raise AgentError("there is no LED", f"see {journal('recorder-agent')}")
        self._status_led.identify(IDENTIFY_SECONDS if request.seconds is None else request.seconds)
        return {}


def _manual(request: Request) -> ManualRequest:
    if request.seconds is not None and not 0 < request.seconds <= LONGEST_SECONDS:
        raise _wrong(
            f"a recording lasts more than 0 s and at most {LONGEST_SECONDS} s",
            "leave the length out for more",
        )
    if request.name is not None and len(request.name) > LONGEST_NAME:
        raise _wrong(f"a name has at most {LONGEST_NAME} characters", "give a shorter one")
    if complaint := metadata_complaint(request.metadata):
        raise _wrong(f"the metadata {complaint}", "send less of it")
    return ManualRequest(
        name=request.name, seconds=request.seconds, metadata=request.metadata, from_now=request.from_now
    )


def _wrong(message: str, hint: str) -> AgentError:
    error = AgentError(message, hint)
    error.exit_code = 2
    return error
