"""The daemon: starts the parts in their threads, watches them, speaks with systemd, and stops them in order.

Procedure
    Start  lock the state directory → open the index → control socket → recorder thread → READY. Behind it, in
           threads of their own: reconciliation, then delivery; heartbeats; the network's changes; the light, the
           button, and what is published for other programs. Recording never waits for any of them.
    Watch  once a second: a thread that has died ends the daemon (systemd starts it anew); the watchdog is fed while
           the recorder makes progress; STATUS is the one line a person wants to read.
    Stop   (SIGTERM, SIGINT) the recorder finishes its file, calls under way are cut, all within 10 s.
    Reload (SIGHUP) the log's settings take effect; what else has changed is named as needing a restart.
"""

import contextlib
import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from agent import __version__, log
from agent.button import Button
from agent.config import LoadedConfig, changed_keys, load
from agent.desk import OWNERS_OWN, Desk
from agent.errors import AgentError, ConfigError
from agent.housekeeping import Housekeeping
from agent.log import get_logger
from agent.online import Online
from agent.parts import Parts
from agent.publisher import Publisher
from agent.recording.triggers import trigger_for
from agent.statedir import StateDirectory
from agent.status.control import ControlServer
from agent.status.lamp import lamp_for
from agent.status.led import Light
from agent.status.systemd import Notifier
from agent.status.table import condition
from agent.status.words import sentence

logger = get_logger(__name__)

WATCH_SECONDS, STARTING_SECONDS = 1.0, 0.25
"""How often it looks after its parts; how long it says no more than that it is starting."""
STOP_SECONDS = 8.0
"""How long the parts may take to stop; systemd waits 10 s."""
PUBLISHER_SECONDS = 0.5
"""How long the files for other programs may take to be removed."""
LIGHT_SECONDS = 0.5
"""How long the light may take to go dark."""
STALLED_SECONDS = 20.0
"""Without progress for so long the watchdog is not fed."""


class Daemon:
    """Runs until a signal, or until one of its threads dies; ``run`` returns the exit code."""

    def __init__(self, loaded: LoadedConfig, state: StateDirectory, config_path: Path | None) -> None:
        self._loaded = loaded
        self._state = state
        self._config_path = config_path
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._reload = False
        self._died: list[str] = []
        self._notifier = Notifier()
        self._said = ""
        self._lighting: threading.Thread | None = None

    def run(self) -> int:
        """Work until told to stop.

        Raises:
            AgentError: the state directory is in use or not usable, or a setting cannot work.
        """
        with self._state.lock():
            self._parts = Parts(self._loaded.config, self._state)
            try:
                return self._work()
            finally:
                self._parts.close()

    def _work(self) -> int:
        parts, config = self._parts, self._loaded.config
        self._source = parts.source()
        self._recorder = parts.recorder(
            self._source, trigger_for(config.recording, lambda: parts.now().wall_ms / 1000), unattended=True
        )
        self._listen_to_signals()
        self._house = Housekeeping(parts)
        self._online = Online(parts, self._recorder, self._house.settled, self._stopping)
        self._light = self._lit()
        desk = Desk(
            parts,
            self._recorder,
            self._online,
            self._light,
            self._loaded.config,
            stopping=self._stopping,
            reload=self._read_settings,
        )
        control = ControlServer(
            self._state.socket, desk.handlers, group=config.control.group, owners_own=OWNERS_OWN
        )
        recording = self._start("recorder", self._recorder.run)
        button = self._with_button(desk)
        self._start("housekeeping", lambda: self._house.run(self._stopping))
        publisher = self._start("publisher", lambda: Publisher(parts).run(self._stopping))
        online = [self._start(name, work) for name, work in self._online.threads.items()]
        logger.info(
            "started",
            action="daemon_started",
            version=__version__,
            mode=config.recording.mode,
            input=config.audio.input,
            state=str(self._state.path),
        )
        self._notifier.ready("starting")
        self._watch()
        self._notifier.stopping("finishing the recording")
        logger.info("stopping", action="daemon_stopping")
        self._recorder.stop()
        self._house.wake()
        self._online.stop()
        if button is not None:
            button.close()
        if self._light is not None:
            self._light.stop()
        recording.join(STOP_SECONDS)
        for thread in online:
            thread.join(1 / len(online))
        publisher.join(PUBLISHER_SECONDS)
        if self._lighting is not None:
            self._lighting.join(LIGHT_SECONDS)
        control.close()
        if recording.is_alive():
            logger.error(
                "the recorder did not stop in time; its file is repaired at the next start",
                action="daemon_stop_late",
            )
        logger.info("stopped", action="daemon_stopped")
        return 1 if self._died or recording.is_alive() else 0

    def _start(self, name: str, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._guarded, args=(name, work), name=name, daemon=True)
        thread.start()
        return thread

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except (
            Exception
        ):  # whatever it was, the daemon must end and be started anew, never go on without this part
            logger.exception("a part of the daemon has died", action="daemon_part_died", part=name)
            self._died.append(name)
        finally:
            self._wake.set()

    def _lit(self) -> Light | None:
        """Start the light; one that is missing or forbidden is a warning, never a stop."""
        parts = self._parts
        try:
            lamp = lamp_for(self._loaded.config.led)
        except AgentError as error:
            logger.warning("there is no light", action="led_failed", reason=str(error))
            return None
        if lamp is None:
            return None
        light = Light(lamp, lambda: condition(parts.board.snapshot, parts.outbox.counts()), parts.clock.wait)
        self._lighting = self._start("light", light.run)
        return light

    def _with_button(self, desk: Desk) -> Button | None:
        """Listen to the button; one that is missing or forbidden is a warning, never a stop."""
        gpio = self._loaded.config.button.gpio
        if not gpio:
            return None
        try:
            return Button(gpio, desk.pressed, desk.held, self._parts.clock.monotonic)
        except AgentError as error:
            logger.warning("there is no button", action="button_failed", reason=str(error))
            return None

    # signals

    def _listen_to_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping.set()
        self._wake.set()

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._reload = True
        self._wake.set()

    def _watch(self) -> None:
        while not self._stopping.is_set() and not self._died:
            if self._reload:
                self._reload = False
                with contextlib.suppress(ConfigError):  # said in the log; the settings in use stay
                    self._read_settings()
            if self._parts.board.since_progress() < STALLED_SECONDS:
                self._notifier.watchdog()
            self._wake.wait(WATCH_SECONDS if self._said else STARTING_SECONDS)
            self._wake.clear()
            self._say()
        self._stopping.set()

    def _say(self) -> None:
        try:
            text = sentence(self._parts.board.snapshot, self._parts.outbox.store.counts())
        except (OSError, sqlite3.Error) as error:
            text = f"the index cannot be read: {error}"
        if text != self._said:
            self._said = text
            self._notifier.status(text)

    def _read_settings(self) -> list[str]:
        """Let the log's settings take effect, and return the other keys that have changed since the start.

        Raises:
            ConfigError: the file is wrong; the settings in use stay.
        """
        self._notifier.reloading()
        try:
            loaded = load(self._config_path, os.environ)
        except ConfigError as error:
            logger.error("the settings were not reloaded", action="config_refused", reason=str(error))
            raise
        else:
            log.configure(loaded.config.log.level, loaded.config.log.format)
            later = [
                key for key in changed_keys(self._loaded.config, loaded.config) if not key.startswith("log.")
            ]
            logger.info("the settings were reloaded", action="config_reloaded", needs_restart=later)
            return later
        finally:
            self._notifier.ready(self._said or "starting")
