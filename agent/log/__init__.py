"""Logging: the standard library's, as text for people or JSON for machines, and nothing secret in either.

Every record has an ``action``, so that text and JSON come from one call. Under systemd the journal keeps the
time, and a line begins with its priority instead (``sd-daemon(3)``). A program that runs for long puts its lines into
a bounded queue before one writing thread, so that a log which nobody reads holds up nothing (``writer``).
"""

import datetime as dt
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TextIO

from agent.log.entry import Record, redact
from agent.log.render import Render, TextRender, json_render
from agent.log.writer import DirectHandler, Output, QueuedHandler, Stream

__all__ = [
    "LEVELS",
    "Failures",
    "Logger",
    "configure",
    "flush",
    "get_logger",
    "redact",
    "report_strays",
    "silence",
    "utc_now",
]

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
ROOM = "agent"
"""The logger above all of ours; what comes from elsewhere is a library's."""


class Logger:
    """What a module logs through; each method takes a sentence, an action and what else is to be known."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name if name.partition(".")[0] == ROOM else f"{ROOM}.{name}")

    def debug(self, event: str, /, *, action: str, **fields: object) -> None:
        """Log what only somebody who looks for a fault wants to know."""
        self._log(logging.DEBUG, event, action, fields)

    def info(self, event: str, /, *, action: str, **fields: object) -> None:
        """Log what happens as it should."""
        self._log(logging.INFO, event, action, fields)

    def warning(self, event: str, /, *, action: str, **fields: object) -> None:
        """Log what is not as it should be, and heals."""
        self._log(logging.WARNING, event, action, fields)

    def error(self, event: str, /, *, action: str, **fields: object) -> None:
        """Log what somebody should look at."""
        self._log(logging.ERROR, event, action, fields)

    def exception(self, event: str, /, *, action: str, **fields: object) -> None:
        """Log the exception that is being handled: its text in ``error``, at level debug its traceback."""
        self._log(logging.ERROR, event, action, fields, sys.exception())

    def _log(
        self,
        level: int,
        event: str,
        action: str,
        fields: Mapping[str, object],
        error: BaseException | None = None,
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.handle(Record(self._logger.name, level, event, action, fields, error))


class Failures:
    """Tells of what is tried again and again: the first failure of a row is a warning, the rest are for debugging."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._in_a_row = False

    def failed(self, event: str, /, *, action: str, **fields: object) -> None:
        """Log a failure."""
        (self._log.debug if self._in_a_row else self._log.warning)(event, action=action, **fields)
        self._in_a_row = True

    def ended(self) -> bool:
        """Note that it works; return whether it failed before."""
        before, self._in_a_row = self._in_a_row, False
        return before


def get_logger(name: str) -> Logger:
    """Return the logger of a module, ``get_logger(__name__)``."""
    return Logger(name)


def utc_now() -> dt.datetime:
    """Return the wall clock in UTC."""
    return dt.datetime.now(dt.UTC)


def configure(
    level: str,
    format: str,  # noqa: A002 - the name of the setting
    stream: TextIO | None = None,
    *,
    queued: bool = False,
    environ: Mapping[str, str] = os.environ,
    now: Callable[[], dt.datetime] = utc_now,
) -> None:
    """Send all logging, the libraries' warnings too, to ``stream`` (standard error); may be called again.

    ``queued`` is for programs that run for long: no call waits for the stream, lines that find no room are dropped
    and counted, and of a storm only so much a minute is written; a stream stays queued when this is called again.
    Otherwise a line is written when the call returns.
    """
    target = Stream(sys.stderr if stream is None else stream)
    journal = target.is_journal(environ)
    render: Render = json_render(journal=journal) if format == "json" else TextRender(journal=journal)
    library_level = max(LEVELS[level], logging.WARNING)
    output = _installed(target, queued=queued)
    output.set_form(render, now, with_traceback=level == "debug", library_level=library_level)
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger(ROOM).setLevel(LEVELS[level])


def _installed(target: Stream, *, queued: bool) -> Output:
    """Return the output of the one handler of ours; a queue that writes to the same stream goes on."""
    root = logging.getLogger()
    for old in _handlers():
        if isinstance(old, QueuedHandler) and old.output.stream == target:
            return old.output
        root.removeHandler(old)
        old.close()
    output = Output(target)
    root.addHandler(QueuedHandler(output) if queued else DirectHandler(output))
    return output


def _handlers() -> list[DirectHandler | QueuedHandler]:
    handlers = logging.getLogger().handlers
    return [handler for handler in handlers if isinstance(handler, DirectHandler | QueuedHandler)]


def silence() -> None:
    """Let nothing of ours be logged: a command's answer and its one sentence say all there is to say."""
    logging.getLogger(ROOM).setLevel(logging.CRITICAL + 1)


def flush() -> None:
    """Wait until the lines so far are written, but not long."""
    for handler in _handlers():
        handler.flush()


def report_strays() -> None:
    """Log what Python itself would write to standard error, where a reader who has stopped would hold it up."""
    log = get_logger(__name__)

    def of_thread(stray: threading.ExceptHookArgs) -> None:
        name = stray.thread.name if stray.thread is not None else None
        log.error("a thread has died", action="thread_died", thread=name, error=stray.exc_value)

    def of_finalizer(stray: "sys.UnraisableHookArgs") -> None:
        log.warning("an exception could not be raised", action="error_ignored", error=stray.exc_value)

    def of_program(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
        log.error("the program has died", action="program_died", error=error)

    threading.excepthook, sys.unraisablehook, sys.excepthook = of_thread, of_finalizer, of_program
    logging.captureWarnings(capture=True)
