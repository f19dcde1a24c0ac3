"""The recorder, for the API's commands: asked through ``control.sock``, in threads that nobody waits for."""

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.bounds import LocalId
from agent.control.server import Message, ask
from agent.errors import AgentError
from agent.hints import journal, restart
from agent.log import get_logger
from agent.recording.asked.requests import ManualRequest

log = get_logger(__name__)


class _Row(msgspec.Struct):
    """What is read of a recording in the recorder's answer."""

    id: LocalId


class RemoteRecorder:
    """Starts and stops manual recordings in the other process.

    ``is_manual`` tells whether the recorder says that one runs, whoever started it.
    """

    def __init__(self, socket: Callable[[], Path], is_manual: Callable[[], bool]) -> None:
        self._socket = socket
        self._is_manual = is_manual
        self._own: ManualRequest | None = None
        self._other: ManualRequest | None = None

    @property
    def manual(self) -> ManualRequest | None:
        """The manual recording that runs: our own, or one of which no more is known than that it runs."""
        if self._own is not None and not self._own.done.is_set():
            return self._own
        self.poll()
        return self._other

    def poll(self) -> None:
        """Note whether a recording of somebody else runs, or has ended."""
        runs = self._is_manual()
        if runs and self._other is None:
            self._other = ManualRequest()
            self._other.started.set()
        elif not runs and self._other is not None:
            self._other.done.set()
            self._other = None

    def start(self, request: ManualRequest) -> None:
        """Ask for one; its events tell how it goes on, and that the recorder could not be asked too."""
        self._own = request
        threading.Thread(target=self._follow, args=(request,), name="remote-recording", daemon=True).start()

    def stop_manual(self) -> None:
        """End the one that runs."""
        threading.Thread(target=self._stop, name="remote-stop", daemon=True).start()

    def _follow(self, request: ManualRequest) -> None:
        def heard(event: Message) -> None:
            if event.get("started"):
                request.started.set()

        message = {
            "command": "record",
            "seconds": request.seconds,
            "name": request.name,
            "metadata": request.metadata,
            "detached": True,
        }
        try:
            rows = msgspec.convert(ask(self._socket(), message, heard), list[_Row])
            request.finished_ids += [row.id for row in rows]
            request.started.set()
        except msgspec.ValidationError as error:
            request.error = AgentError(f"the recorder gave no list of recordings ({error})", restart())
        except AgentError as error:
            request.error = error
        except OSError as error:
            request.error = AgentError(
                f"the recorder cannot be asked ({error.strerror or error})", f"see {journal()}"
            )
        finally:
            request.done.set()

    def _stop(self) -> None:
        try:
            ask(self._socket(), {"command": "stop"})
        except (AgentError, OSError) as error:
            log.warning(
                "the recorder could not be told to stop", action="command_stop_failed", reason=str(error)
            )
