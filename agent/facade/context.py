"""What every command gets: the settings in use, and the state directory they name."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from agent.config.loader import LoadedConfig, load
from agent.control.server import Message, NotRunning, ask
from agent.errors import AgentError
from agent.hints import journal, restart
from agent.process import state_directory
from agent.process.state_directory import Process, StateDirectory
from agent.process.state_lock import LockHeld, NoRight
from agent.status.status_document import StatusDocument, status_document

WAIT_SECONDS = 10.0
"""How long a command waits for another one, or for a process that is just starting."""
POLL_SECONDS = 0.1
Rows = list[dict[str, Any]]


ANSWER_SECONDS = 5.0
"""A process that takes longer to say how it is hangs."""


class Hangs(AgentError):  # noqa: N818 - says what it does
    """A process listens and does not answer."""


class Session:
    """One call of the command line; settings and state are read when first asked for."""

    def __init__(self, config_path: Path | None) -> None:
        self.config_path = config_path

    @cached_property
    def loaded(self) -> LoadedConfig:
        """The settings; ConfigError when they are wrong."""
        return load(self.config_path, os.environ)

    def use(self, loaded: LoadedConfig) -> None:
        """Take other settings than those of the file."""
        self.loaded = loaded

    @cached_property
    def state(self) -> StateDirectory:
        """Where the state is; nothing is created."""
        return state_directory.resolve(self.loaded, os.environ)

    def enter(self, *, create: bool = True) -> StateDirectory:
        """Return the state directory to work in, as its owner, its folders made; AgentError without the right."""
        state_directory.become_owner(self.state, os.environ)
        if create:
            self.state.create()
            self.state = self.state.create_runtime()
        return self.state

    def for_reading(self) -> StateDirectory:
        """Return the state directory for reading; AgentError without the right."""
        state_directory.become_owner(self.state, os.environ)
        return self.state

    def ask_status(self, process: Process) -> StatusDocument | None:
        """Return what a process says of itself; None where it does not run.

        Raises:
            Hangs: it does not answer.
            AgentError: one may not ask it, or another version answers.
        """
        with contextlib.suppress(NotRunning):
            return status_document(self.ask_soon(process, {"command": "status"}))
        return None

    def ask(self, process: Process, message: Message) -> Any:
        """Send a command to a process that is known to answer, and return its result, however long the work takes.

        Raises:
            NotRunning: it does not run.
            Hangs: it does not answer.
            AgentError: one may not ask it, or what it says itself.
        """
        self.ask_soon(process, {"command": "status"})
        return ask(self.socket(process), message)

    def ask_soon(self, process: Process, message: Message) -> Any:
        """Ask a process for what it has at hand; NotRunning, Hangs and AgentError as ``ask``."""
        try:
            return ask(self.socket(process), message, timeout=ANSWER_SECONDS)
        except TimeoutError:
            raise Hangs(
                f"a {process.value} runs and does not answer", f"{restart()}, and see {journal()}"
            ) from None

    def read_or_ask(
        self,
        read: Callable[[StateDirectory], Rows],
        process: Process,
        command: str,
        complain: Callable[[str], object] = lambda _: None,
        **more: object,
    ) -> Rows:
        """Return rows that are read from the state directory; who may not read there asks a process for them.

        ``more`` is what the process has to know beside the command.

        Raises:
            AgentError: one may neither read nor ask, or nobody answers.
        """
        try:
            state = self.for_reading()
        except NoRight as error:
            rows: Rows = []

            def heard(event: Message) -> None:
                rows.extend(event.get("rows", []))
                for sentence in event.get("unreadable", []):
                    complain(str(sentence))

            try:
                ask(self.socket(process), {"command": command, **more}, heard, timeout=ANSWER_SECONDS)
            except (NotRunning, TimeoutError):
                raise error from None
            return rows
        return read(state)

    def socket(self, process: Process) -> Path:
        """Return the socket of a process."""
        return self.state.socket if process is Process.RECORDER else self.state.delivery_socket

    def serves(self, process: Process) -> bool:
        """Return whether a process works on the state, and answers; AgentError while a command does, for too long.

        Raises:
            Hangs: it does not answer.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            if self.ask_status(process) is not None:
                return True
            if not self.state.is_locked(process):
                return False
            if time.monotonic() >= deadline:
                raise AgentError(f"another command works on {self.state.path}", "wait until it has ended")
            time.sleep(POLL_SECONDS)

    @contextlib.contextmanager
    def lock(self, process: Process) -> Iterator[None]:
        """Hold a process's lock, once a command that was faster has ended; AgentError when that takes too long."""
        lock = self.state.command_lock(process)
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                lock.acquire()
                break
            except LockHeld:
                if time.monotonic() >= deadline:
                    raise
        try:
            yield
        finally:
            lock.release()
