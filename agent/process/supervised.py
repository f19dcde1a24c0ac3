"""What both processes are alike in: the lock, threads whose death ends the process, signals, the watchdog, settings."""

import contextlib
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import ClassVar

from agent import log
from agent.config.loader import LoadedConfig, changed_keys, load
from agent.errors import AgentError, ConfigError
from agent.log import get_logger
from agent.process.starting import Starting
from agent.process.state_directory import Process, StateDirectory
from agent.process.state_lock import LockHeld, StateLock, named
from agent.process.systemd import Notifier, is_service

logger = get_logger(__name__)

WATCH_SECONDS, STARTING_SECONDS = 1.0, 0.25
"""How often a process looks after its threads; how long it says no more than that it is starting."""
RETRY_SECONDS = 10.0
"""After so long a service whose state directory could not be used tries again."""
LOCK_SECONDS = 0.5
"""How often a service looks whether the command that holds its lock has ended."""


class Threads:
    """The threads of a process; one that dies sets ``died`` and wakes the process, which then ends."""

    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake
        self.died: list[str] = []

    def start(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """Run ``work`` in a thread of its own."""
        thread = threading.Thread(target=self._guarded, args=(name, work), name=name, daemon=True)
        thread.start()
        return thread

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except (
            Exception
        ):  # whatever it was, the process must end and be started anew, never go on without this part
            logger.exception("a part of the process has died", action="daemon_part_died", part=name)
            self.died.append(name)
        finally:
            self._wake.set()


class Signals:
    """SIGTERM and SIGINT stop, SIGHUP reloads."""

    def __init__(self) -> None:
        self.wake = threading.Event()
        self.stopping = threading.Event()
        self.reload = False

    def listen(self) -> None:
        """Take over the signals of the process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping.set()
        self.wake.set()

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reload = True
        self.wake.set()


class Settings:
    """The settings in use, and reading them anew."""

    def __init__(self, loaded: LoadedConfig, path: Path | None, notifier: Notifier) -> None:
        self._loaded = loaded
        self._path = path
        self._notifier = notifier

    def read(self, said: str) -> list[str]:
        """Let the log's settings take effect, and return the other keys that have changed since the start.

        Raises:
            ConfigError: the file is wrong; the settings in use stay.
        """
        self._notifier.reloading()
        try:
            loaded = load(self._path, os.environ)
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
            self._notifier.ready(said)

    def read_quietly(self, said: str) -> None:
        """Read them; what is wrong is said in the log."""
        with contextlib.suppress(ConfigError):
            self.read(said)


class SupervisedProcess(ABC):
    """Runs until a signal, or until one of its threads dies; ``run`` returns the exit code."""

    process: ClassVar[Process]

    def __init__(
        self,
        loaded: LoadedConfig,
        state: StateDirectory,
        config_path: Path | None,
        *,
        settings_problem: str | None,
        supervised: bool = False,
    ) -> None:
        self._loaded = loaded
        self._state = state
        self._config_path = config_path
        self._settings_problem = settings_problem
        self._supervised = supervised
        self._notifier = Notifier()
        self._settings = Settings(loaded, config_path, self._notifier)
        self._signals = Signals()
        self._threads = Threads(self._signals.wake)
        self._said = ""
        self._held: StateLock | None = None

    def started_by(self, starting: Starting) -> None:
        """Let what has told of the start know when it is over."""
        self._notifier.on_ready = starting.end

    def run(self) -> int:
        """Work until told to stop.

        Raises:
            AgentError: by hand, the state directory is in use or not usable.
        """
        self._signals.listen()
        lock = self._lock()
        if lock is None:
            return 0
        self._held = lock
        try:
            code = self._work()
        except BaseException:
            lock.release()
            raise
        lock.release(orderly=code == 0)
        self._state.remove_runtime()
        return code

    @abstractmethod
    def _work(self) -> int:
        """Start the parts, watch them, stop them in order; return the exit code."""

    @abstractmethod
    def _cannot_begin(self, error: AgentError) -> str:
        """Log why a service cannot begin, and return the word systemd shows before the reason."""

    @abstractmethod
    def _disk_fails(self) -> bool:
        """Whether the disk of the state directory fails: nothing is to be kept open on it."""

    @abstractmethod
    def _is_alive(self) -> bool:
        """Whether the process makes progress, so that the watchdog is fed."""

    @abstractmethod
    def _sentence(self) -> str:
        """Return what systemd shows of it."""

    def _reload_quietly(self) -> None:
        """Do what SIGHUP asks for."""
        self._settings.read_quietly(self._said or "starting")

    def _turn(self) -> None:
        """Do what is due each time the process looks after its threads."""
        if self._is_alive():
            self._notifier.watchdog()
        if self._held is not None:
            self._keep(self._held)

    def _keep(self, lock: StateLock) -> None:
        """Let go of the lock while the disk fails, so that it can be checked and mounted again; lock what comes then.

        The process ends when another one has been faster.
        """
        if self._disk_fails():
            lock.release()
        elif not lock.is_in_place:
            lock.release()
            try:
                lock.acquire()
            except LockHeld as error:
                if self._state.is_service(self.process):
                    logger.error("another one works here now", action="lock_lost", reason=str(error))
                    self._threads.died.append("lock")
            except AgentError as error:
                logger.debug("the lock cannot be taken yet", action="lock_waits", error=error)

    def _reload(self) -> list[str]:
        return self._settings.read(self._said or "starting")

    def _lock(self) -> StateLock | None:
        """Take the lock; a service whose state directory cannot be used says so and tries again. None: told to stop."""
        while True:
            try:
                self._state.create()
                self._state = self._state.create_runtime()
                return wait_for_lock(
                    self._state, self.process, self._signals, self._notifier, supervised=self._supervised
                )
            except LockHeld:
                raise
            except AgentError as error:
                if not is_service():
                    raise
                self._notifier.ready(f"{self._cannot_begin(error)}: {error}")
                self._notifier.watchdog()
            if self._signals.stopping.wait(RETRY_SECONDS):
                return None

    def _watch(self) -> None:
        signals = self._signals
        while not signals.stopping.is_set() and not self._threads.died:
            if signals.reload:
                signals.reload = False
                self._reload_quietly()
            self._turn()
            signals.wake.wait(WATCH_SECONDS if self._said else STARTING_SECONDS)
            signals.wake.clear()
            self._say()
        signals.stopping.set()

    def _say(self) -> None:
        text = self._sentence()
        if text != self._said:
            self._said = text
            self._notifier.status(text)


def wait_for_lock(
    state: StateDirectory, process: Process, signals: Signals, notifier: Notifier, *, supervised: bool
) -> StateLock | None:
    """Take a process's lock; one that a command holds is waited for, and named. None: told to stop meanwhile.

    Raises:
        LockHeld: another service has it.
        AgentError: the state directory cannot be used.
    """
    lock = state.lock(process, supervised=supervised)
    said = False
    while not signals.stopping.is_set():
        try:
            lock.acquire()
        except LockHeld:
            if state.is_service(process) or not state.has_holder(process):
                raise
            if not said:
                said = True
                holder = named(state.lock_of(process))
                notifier.ready(f"waiting for {holder}")
                logger.warning("waiting for a command to end", action="lock_waits", holder=holder)
            notifier.watchdog()
            signals.wake.wait(LOCK_SECONDS)
            signals.wake.clear()
        else:
            return lock
    return None
