"""The desk: takes what people ask for, by control socket and button, and hands it to the part that does it."""

import threading
from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from agent.config import Config
from agent.configvalues import metadata as metadata_complaint
from agent.errors import AgentError
from agent.index.actions import ACTIONS
from agent.log import get_logger
from agent.online import Online
from agent.parts import Parts
from agent.recording.recorder import Recorder
from agent.recording.requests import LONGEST_SECONDS, ManualRequest, MarkRequest
from agent.report import row_of, status_of
from agent.status.board import State
from agent.status.control import Handler, Message, Peer
from agent.status.led import Light
from agent.sync.drained import answer_of

log = get_logger(__name__)

LONGEST_NAME = 255
OWNERS_OWN = frozenset({"delete", "release", "retry", "refresh"})
"""Not for the group: what decides over recordings that are there, or over the token."""
PROGRESS_SECONDS = 0.5
"""How often a command that waits for a recording hears of it."""
MARK_SECONDS = 5.0
"""How long the recorder may take to note a mark: it may be waiting for a slow disk."""
BLINK_SECONDS = 0.5
"""How long the light says that a mark was noted."""


class Desk:
    """The handlers of the control socket, each in the asking connection's thread, and of the button.

    ``reload`` reads the settings anew and returns the keys that need a restart.
    """

    def __init__(
        self,
        parts: Parts,
        recorder: Recorder,
        online: Online,
        light: Light | None,
        config: Config,
        *,
        stopping: threading.Event,
        reload: Callable[[], list[str]],
    ) -> None:
        self._parts = parts
        self._recorder = recorder
        self._online = online
        self._light = light
        self._config = config
        self._stopping = stopping
        self._reload = reload

    @property
    def handlers(self) -> dict[str, Handler]:
        """Every command of the control socket."""
        return {
            "status": self._status,
            "record": self._record,
            "start": self._start,
            "stop": self._stop,
            "mute": self._mute,
            "mark": self._mark,
            "sync": self._sync,
            "reload": self._read_settings,
            "refresh": self._refresh,
            "identify": self._identify,
            **{name: self._wished(wish) for name, wish in ACTIONS.items()},
        }

    # the button

    def pressed(self) -> None:
        """A short press: end the manual recording that runs, else mark what is recorded, else start one."""
        recorder = self._recorder
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
        self._recorder.turn_mute(on=None)

    # the control socket

    def _status(self, _request: Message, _peer: Peer) -> Any:
        parts = self._parts
        return status_of(
            parts.board.snapshot,
            parts.board.level_dbfs(),
            self._config,
            parts.state,
            parts.outbox.store,
            parts.credentials,
        )

    def _start(self, request: Message, _peer: Peer) -> Any:
        """Start a manual recording that goes on when the asking side has left; answer with its first sample."""
        manual = _manual(request)
        self._recorder.start(manual)
        while not manual.started.wait(PROGRESS_SECONDS):
            if manual.done.is_set():
                raise AgentError(manual.error or "the recording ended before its first sample")
            if self._parts.board.snapshot.state is State.NO_MICROPHONE:
                return {"started": False, "waiting_for": "microphone"}
            if self._stopping.is_set():
                raise AgentError("the daemon is stopping; nothing was recorded")
        now = self._parts.board.snapshot.recording
        return {"started": True, "id": now.id if now else None}

    def _stop(self, _request: Message, _peer: Peer) -> Any:
        manual = self._recorder.manual
        self._recorder.stop_manual()
        return {"stopped": manual is not None}

    def _mute(self, request: Message, _peer: Peer) -> Any:
        """Mute (``on``: true, the default), or unmute."""
        muted = self._recorder.turn_mute(on=bool(request.get("on", True)))
        return {"muted": muted, "durable": self._recorder.mute_is_durable}

    def _mark(self, request: Message, _peer: Peer) -> Any:
        return self._put_mark(str(request.get("text") or ""))

    def _put_mark(self, text: str) -> dict[str, Any]:
        mark = MarkRequest(self._parts.clock.monotonic(), text)
        self._recorder.mark(mark)
        if not mark.done.wait(MARK_SECONDS):
            raise AgentError("the recorder is busy with a slow disk; the mark may be late or missing")
        if mark.error:
            raise AgentError(mark.error)
        if self._light is not None:
            self._light.identify(BLINK_SECONDS)
        return {"id": mark.recording_id, "offset_ms": mark.offset_ms}

    def _read_settings(self, _request: Message, _peer: Peer) -> Any:
        return {"needs_restart": self._reload()}

    def _record(self, request: Message, peer: Peer) -> Any:
        """Record on request; without a length, for as long as the asking side stays."""
        manual = _manual(request)
        self._recorder.start(manual)
        is_left = False
        while not manual.done.wait(PROGRESS_SECONDS):
            if self._stopping.is_set() and not manual.started.is_set():
                raise AgentError("the daemon is stopping; nothing was recorded")
            if not is_left and not self._tell_progress(manual, peer):
                is_left = True
                if manual.seconds is None:
                    self._recorder.stop_manual(manual)
        if manual.error:
            raise AgentError(manual.error)
        outbox = self._parts.outbox
        entries = [outbox.store.get(recording_id) for recording_id in manual.finished_ids]
        return [row_of(entry, outbox.files) for entry in entries if entry is not None]

    def _tell_progress(self, manual: ManualRequest, peer: Peer) -> bool:
        """Return whether the asking side still listens."""
        now = self._parts.board.snapshot.recording
        if peer.gone():
            return False
        try:
            peer.tell(
                event="recording",
                started=manual.started.is_set(),
                duration_ms=now.duration_ms if now else 0,
                size_bytes=now.size_bytes if now else 0,
                level_dbfs=self._parts.board.level_dbfs(),
            )
        except OSError:
            return False
        return True

    def _sync(self, _request: Message, peer: Peer) -> Any:
        """Try everything now, and tell the asking side how far each upload is."""
        syncer = self._online.syncer
        told, is_left = 0.0, False

        def tell(recording_id: str, sent: int, total: int) -> None:
            nonlocal told, is_left
            now = self._parts.clock.monotonic()
            if not is_left and (now - told > PROGRESS_SECONDS or sent == total):
                told = now
                try:
                    peer.tell(event="transfer", id=recording_id, sent_bytes=sent, total_bytes=total)
                except OSError:  # nobody listens any more; the upload goes on
                    is_left = True

        with syncer.listening(tell):
            return answer_of(syncer.drain(everything=True), self._parts.outbox.store)

    def _refresh(self, _request: Message, _peer: Peer) -> Any:
        """Exchange the device token for a new one."""
        from agent.sync.credential.refresh import refresh  # noqa: PLC0415 - once in the life of a token

        parts = self._parts
        try:
            return refresh(parts.credentials, parts.api, parts.conclusions.pause_left())
        finally:
            parts.outbox.arrived.set()

    def _wished(self, wish: Callable[..., list[str]]) -> Handler:
        def fulfil(request: Message, _peer: Peer) -> Any:
            ids, transfer = request.get("ids"), self._parts.board.snapshot.transfer
            if transfer is not None and any(transfer.id.startswith(one) for one in ids or ()):
                raise AgentError(
                    f"{transfer.id} is being delivered at this moment; try again when that is over"
                )
            return wish(self._parts.outbox, ids)

        return fulfil

    def _identify(self, request: Message, _peer: Peer) -> Any:
        """Let the light flicker."""
        if self._light is None:
            raise AgentError("there is no light; the log says why")
        self._light.identify(float(request.get("seconds", 10)))
        return {}


class _Asked(msgspec.Struct):
    """What ``record`` and ``start`` may say."""

    name: Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)] | None = None
    seconds: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_SECONDS)] | None = None
    metadata: dict[str, Any] = {}


_ASKED = msgspec.json.Decoder(_Asked)


def _manual(request: Message) -> ManualRequest:
    try:
        asked = _ASKED.decode(msgspec.json.encode(request))
    except msgspec.ValidationError as error:
        raise _wrong(f"that cannot be recorded ({error})") from error
    if complaint := metadata_complaint(asked.metadata):
        raise _wrong(f"the metadata {complaint}")
    return ManualRequest(name=asked.name, seconds=asked.seconds, metadata=asked.metadata)


def _wrong(sentence: str) -> AgentError:
    error = AgentError(sentence)
    error.exit_code = 2
    return error
