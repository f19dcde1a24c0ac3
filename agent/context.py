"""What every command gets: the settings in use, and the state directory they name."""

import contextlib
import os
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from agent import statedir
from agent.config import LoadedConfig, load
from agent.errors import AgentError
from agent.statedir import StateDirectory
from agent.status.control import NoDaemon, ask

PATIENCE_SECONDS = 10.0
"""How long a command waits for another one, or for a daemon that is just starting."""
POLL_SECONDS = 0.1


ANSWER_SECONDS = 5.0
"""A daemon that takes longer to say how it is hangs."""


class Hangs(AgentError):  # noqa: N818 - says what it does
    """A daemon listens and does not answer."""


class Session:
    """One call of the command line; settings and state are read when first asked for."""

    def __init__(self, config_path: Path | None) -> None:
        self.config_path = config_path

    @cached_property
    def loaded(self) -> LoadedConfig:
        """The settings; ConfigError when they are wrong."""
        return load(self.config_path, os.environ)

    @cached_property
    def state(self) -> StateDirectory:
        """Where the state is; nothing is created."""
        return statedir.resolve(self.loaded, os.environ)

    def enter(self) -> StateDirectory:
        """Return the state directory to work in, as its owner, its folders made; AgentError without the right."""
        statedir.become_owner(self.state, os.environ)
        self.state.create()
        return self.state

    def look(self) -> StateDirectory:
        """Return the state directory for reading; AgentError without the right."""
        statedir.become_owner(self.state, os.environ)
        return self.state

    def daemon_status(self) -> dict[str, Any] | None:
        """Return what the daemon says of itself, as ``status --json`` does; None where none runs.

        Raises:
            Hangs: it does not answer.
            AgentError: one may not ask it.
        """
        try:
            return dict(ask(self.state.socket, {"command": "status"}, patience=ANSWER_SECONDS))
        except NoDaemon:
            return None
        except TimeoutError:
            raise Hangs(
                "a recorder runs and does not answer; `sudo systemctl restart recorder-agent`, and see its log"
            ) from None

    def daemon_answers(self) -> bool:
        """Return whether a daemon works on the state; AgentError while another command does, for too long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with contextlib.suppress(NoDaemon):
                return bool(ask(self.state.socket, {"command": "status"}))
            if not self.state.is_locked():
                return False
            if time.monotonic() >= deadline:
                raise AgentError(f"another command works on {self.state.path}; wait until it has ended")
            time.sleep(POLL_SECONDS)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the state's lock, once a command that was faster has ended; AgentError when that takes too long."""
        lock = self.state.lock()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                lock.acquire()
                break
            except AgentError as error:
                if error.__cause__ is not None or time.monotonic() >= deadline:  # a cause: the system refuses
                    raise
        try:
            yield
        finally:
            lock.release()
