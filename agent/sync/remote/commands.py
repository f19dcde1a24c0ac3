"""Obeys what the API asks of the device: each command once, in the order given, with a line in the log for each.

Decide   malformed → ignored. Known by its id for a day → ignored. Remote commands switched off by the owner →
         refused. Expired (by the true time, else by the server's ``Date``) → ignored. ``factory_reset`` →
         refused. Unknown → ignored. The ids are on disk before anything is done: a command is lost in a crash
         rather than obeyed twice.
Obey     ``start_recording`` ends a manual recording that runs and starts its own, whatever the mode; when it is
         done and ``upload_immediately`` is set, delivery looks at once, within the owner's rules (off-peak hours,
         data limit); otherwise it finds the recording when it looks next. ``stop_recording`` ends the manual
         recording that runs, whoever started it; nothing else. ``trigger_upload`` is ``sync``: all that waits
         now, but nothing held, parked, or paused by the API.
Effect   The API reads the outcome from ``device_state``: ``took_effect`` says when there is something to tell.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from agent import bounds
from agent.api.responses import is_manifest
from agent.api.server_words import clean
from agent.clock import milliseconds
from agent.environment import Environment
from agent.log import get_logger
from agent.recording.asked.requests import ManualRequest
from agent.status.board import Snapshot, State
from agent.sync.pacing.token_bucket import TokenBucket
from agent.sync.remote.processed_commands import MOST_REMEMBERED, ProcessedCommands
from agent.sync.remote.remote_command import (
    Kind,
    MalformedCommand,
    RemoteCommand,
    commands_in,
    id_of,
    understand,
)
from agent.sync.remote.remote_recorder import RemoteRecorder

log = get_logger(__name__)

MINUTE_MS = 60_000
MOST_EFFECTS = 64
"""Effects that are awaited; the newest count."""
UPLOAD_EFFECT_MS = 30_000
"""A ``trigger_upload`` without an upload within so long had nothing to do."""


class _Effect(NamedTuple):
    """Something that a command will make visible."""

    entered: Callable[[Snapshot], bool]
    then: Callable[[], None]
    ends_ms: int | None = None
    """On the boot clock, in milliseconds: after that it will not come."""


class Commands:
    """Takes them out of heartbeat's answers; one thread only.

    ``unix_time`` is the true time in seconds, None when nobody knows it. ``upload_everything`` and ``upload_soon``
    return at once.
    """

    def __init__(
        self,
        environment: Environment,
        recorder: RemoteRecorder,
        processed: ProcessedCommands,
        *,
        unix_time: Callable[[], float | None],
        upload_everything: Callable[[], object],
        upload_soon: Callable[[], object],
    ) -> None:
        self._recorder = recorder
        self._board = environment.board
        self._processed = processed
        self._enabled = environment.config.heartbeat.remote_commands
        self._boottime = environment.clock.boottime
        self._unix_time = unix_time
        self._upload_everything = upload_everything
        self._upload_soon = upload_soon
        self._effects: list[_Effect] = []
        self._latest: ManualRequest | None = None
        self._said: set[str] = set()
        self._budget = TokenBucket(bounds.COMMANDS_PER_MINUTE, environment.clock.boottime)
        self._said_too_many: int | None = None

    # effects

    @property
    def awaits_effects(self) -> bool:
        """Whether something a command caused has not happened yet."""
        return bool(self._effects)

    def took_effect(self) -> bool:
        """Return whether something that a command caused can be seen since this was last asked."""
        happened = False
        progress = self.awaits_effects
        while progress:
            snapshot, now_ms = self._board.snapshot, milliseconds(self._boottime())
            entered = [effect for effect in self._effects if effect.entered(snapshot)]
            self._effects = [
                effect
                for effect in self._effects
                if effect not in entered and (effect.ends_ms is None or now_ms < effect.ends_ms)
            ]
            for effect in entered:
                effect.then()
            progress = bool(entered)
            happened |= progress
        return happened

    # decisions

    def take(self, answer: Mapping[str, Any]) -> None:
        """Decide upon all commands of an answer, in their order."""
        self._note_manifests(answer)
        fresh: dict[str, RemoteCommand] = {}
        for raw in commands_in(answer):
            command = self._choose(raw)
            if command is not None:
                fresh.setdefault(command.id, command)
        if fresh:
            self._processed.add(list(fresh))
        for command in fresh.values():
            self._obey(command)
        del self._effects[:-MOST_EFFECTS]

    def _choose(self, raw: object) -> RemoteCommand | None:
        """Return a command that is new and understood."""
        identity = id_of(raw)
        if identity is not None and identity in self._processed:
            self._say_once("a command came again", "command_repeated", id=identity)
            return None
        if self._budget.wait() > 0:
            self._too_many()
            return None
        self._budget.take()
        try:
            return understand(raw)
        except MalformedCommand as error:
            self._say_once(
                "a command was ignored: it is malformed", "command_malformed", id=identity, reason=str(error)
            )
            return None

    def _too_many(self) -> None:
        """Say once a minute that more commands come than a person gives; they are not remembered."""
        now = milliseconds(self._boottime())
        if self._said_too_many is None or now - self._said_too_many >= MINUTE_MS:
            self._said_too_many = now
            log.warning(
                "commands are ignored: there are too many",
                action="command_too_many",
                per_minute=bounds.COMMANDS_PER_MINUTE,
            )

    def _obey(self, command: RemoteCommand) -> None:
        if not self._enabled:
            self._refuse(command, "heartbeat.remote_commands is false: the owner allows none")
        elif self._is_expired(command):
            log.info("a command was ignored: it has expired", action="command_expired", **_named(command))
        elif command.type == Kind.START:
            self._start(command)
        elif command.type == Kind.STOP:
            self._stop(command)
        elif command.type == Kind.UPLOAD:
            self._upload(command)
        elif command.type == Kind.RESET:
            self._refuse(command, "a recorder is never reset from afar")
        else:
            log.info("a command was ignored: it is not known", action="command_unknown", **_named(command))

    def _is_expired(self, command: RemoteCommand) -> bool:
        """One that does not say lives from its arrival, which is now; nor can one be judged without the time."""
        now = self._unix_time()
        return command.expires_at is not None and now is not None and now >= command.expires_at

    def _refuse(self, command: RemoteCommand, reason: str) -> None:
        log.warning("a command was refused", action="command_refused", reason=reason, **_named(command))

    def _start(self, command: RemoteCommand) -> None:
        if command.dropped:
            log.warning(
                "some metadata of a command is left out",
                action="command_metadata_dropped",
                reason=command.dropped,
                **_named(command),
            )
        request = ManualRequest(seconds=command.seconds, metadata=dict(command.metadata))
        self._accept(command, seconds=command.seconds, upload_immediately=command.upload)
        self._recorder.start(request)
        self._latest = request
        self._effects.append(
            _Effect(
                lambda now: (
                    request.done.is_set() or (request.started.is_set() and now.state is State.RECORDING)
                ),
                lambda: self._await_end(request, upload=command.upload),
            )
        )

    def _stop(self, command: RemoteCommand) -> None:
        manual = self._recorder.manual
        if manual is None and self._latest is not None and not self._latest.done.is_set():
            manual = self._latest  # asked for, and not yet begun by the recorder
        if manual is None:
            log.info(
                "there is nothing to stop: no manual recording runs",
                action="command_without_effect",
                **_named(command),
            )
            return
        self._accept(command)
        self._recorder.stop_manual()
        if manual is not self._latest:  # the end of our own is awaited since its start
            self._await_end(manual, upload=False)

    def _upload(self, command: RemoteCommand) -> None:
        self._accept(command)
        self._upload_everything()
        self._effects.append(
            _Effect(
                lambda now: now.transfer is not None,
                lambda: None,
                milliseconds(self._boottime()) + UPLOAD_EFFECT_MS,
            )
        )

    def _await_end(self, request: ManualRequest, *, upload: bool) -> None:
        """Wait until a recording is done and something else has taken its place on the board."""

        def entered(now: Snapshot) -> bool:
            if not request.done.is_set():
                return False
            other = now.recording is not None and now.recording.id not in request.finished_ids
            return other or now.state is not State.RECORDING

        def then() -> None:
            if request.error:
                log.warning(
                    "a command's recording failed",
                    action="command_recording_failed",
                    reason=str(request.error),
                )
            elif upload:
                self._upload_soon()

        self._effects.append(_Effect(entered, then))

    # the log

    def _accept(self, command: RemoteCommand, **more: object) -> None:
        log.info("a command is obeyed", action="command_accepted", **_named(command), **more)

    def _say_once(self, text: str, action: str, **values: object) -> None:
        """Log at INFO what may come with each heartbeat, and its repeats at DEBUG."""
        key = f"{action} {values}"
        level = log.debug if key in self._said else log.info
        if len(self._said) >= MOST_REMEMBERED:
            self._said.clear()
        self._said.add(key)
        level(text, action=action, **values)

    def _note_manifests(self, answer: Mapping[str, Any]) -> None:
        """Say once a version that an offered firmware is ignored: this is no vendor device."""
        for key, value in answer.items():
            if is_manifest(key) and value is not None:
                version = value.get("version") if isinstance(value, Mapping) else value
                self._say_once(
                    "the API offers a firmware, which is ignored",
                    "firmware_ignored",
                    version=clean(str(version), longest=40),
                )


def _named(command: RemoteCommand) -> dict[str, str]:
    return {"id": command.id, "type": command.type}
