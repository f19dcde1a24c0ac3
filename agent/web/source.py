"""What the page shows, asked of recorder and deliverer; asked once for however many look."""

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from agent.control.client import ask
from agent.control.messages import Message
from agent.errors import AgentError
from agent.facade.context import Session
from agent.process.state_directory import Process
from agent.report.rows import rows_of
from agent.status.status_document import StatusDocument, merged, status_document

TIMEOUT_SECONDS = 3.0
"""For each word of an answer."""
STATUS_SECONDS, LEVEL_SECONDS, DAYS_SECONDS = 0.5, 0.2, 30.0
"""So old an answer may be, from when it has come."""
WEEK = 7

Json = dict[str, Any]
T = TypeVar("T")


class _Asked(Generic[T]):
    """An answer and its age; while one asks, the others wait for that answer."""

    def __init__(self, work: Callable[[], T], seconds: float, monotonic: Callable[[], float]) -> None:
        self._work, self._seconds, self._monotonic = work, seconds, monotonic
        self._lock = threading.Lock()
        self._answer: tuple[float, T] | None = None

    def __call__(self) -> T:
        """Return an answer that is young enough."""
        with self._lock:
            if self._answer is None or self._monotonic() - self._answer[0] >= self._seconds:
                found = self._work()
                self._answer = (self._monotonic(), found)  # not from before: work may take longer than that
            return self._answer[1]

    def forget(self) -> None:
        """Ask anew next time."""
        with self._lock:
            self._answer = None


class Source:
    """Asks as whoever runs the page may ask; used by several threads."""

    def __init__(self, session: Session, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self.status = _Asked(self._status, STATUS_SECONDS, monotonic)
        """The document of ``status --json``; None where neither process answers."""
        self.level = _Asked(self._level, LEVEL_SECONDS, monotonic)
        """The answer to ``level``; None where the recorder does not answer."""
        self.days = _Asked(self._days, DAYS_SECONDS, monotonic)
        """The rows of ``report --json``, of a week."""

    def command(self, message: Message) -> str | None:
        """Give the recorder a command; return why it was not obeyed."""
        try:
            self._ask(Process.RECORDER, message)
        except TimeoutError:
            return "the recorder does not answer"
        except AgentError as error:
            return str(error)
        finally:
            self.status.forget()
        return None

    def _ask(
        self, process: Process, message: Message, heard: Callable[[Message], None] = lambda _: None
    ) -> Any:
        return ask(self._session.socket(process), message, heard, timeout=TIMEOUT_SECONDS)

    def _answer(self, process: Process, command: str) -> Json | None:
        try:
            return dict(self._ask(process, {"command": command}))
        except (OSError, AgentError):
            return None

    def _status(self) -> StatusDocument | None:
        recorder, deliverer = self._status_of(Process.RECORDER), self._status_of(Process.DELIVERER)
        return merged(recorder, deliverer) if deliverer is not None else recorder

    def _status_of(self, process: Process) -> StatusDocument | None:
        try:
            return status_document(self._ask(process, {"command": "status"}))
        except (OSError, AgentError):
            return None

    def _level(self) -> Json | None:
        return self._answer(Process.RECORDER, "level")

    def _days(self) -> list[Json]:
        return rows_of(self._rows(Process.RECORDER), self._rows(Process.DELIVERER), WEEK)

    def _rows(self, process: Process) -> list[Json]:
        rows: list[Json] = []
        try:
            self._ask(
                process,
                {"command": "report", "days": WEEK},
                lambda event: rows.extend(event.get("rows", [])),
            )
        except (OSError, AgentError):
            return []
        return rows
