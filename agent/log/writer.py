"""Who writes the log's lines: the caller itself, or one thread behind a bounded queue.

Behind the queue a reader who has stopped (a full pipe, a terminal after Ctrl-S) holds up this thread alone. It
writes to the descriptor, not through Python's buffers: at the end of the program Python flushes those, and would wait
for a lock that a hanging write holds.
"""

import contextlib
import datetime as dt
import logging
import os
import queue
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from logging.handlers import QueueHandler
from typing import Any, TextIO

from agent.log.entry import Record, entry_of
from agent.log.render import Render, TextRender

QUEUE_LINES = 500
"""Lines that wait for a reader: two megabytes at the very most."""
FLUSH_SECONDS = 0.5
"""How long an orderly end waits for a reader."""
IDLE_SECONDS = 5.0
"""How often what was left out is looked at when nothing is logged."""
WINDOW_SECONDS = 60.0
LINES_A_WINDOW = 90
"""Of all kinds together, whatever happens; debug lines aside, which somebody asked for."""
INFO_A_WINDOW, WARNINGS_A_WINDOW = 60, 20
"""Of one action: what goes well is as frequent as deliveries are, what goes wrong repeats itself."""


class Stream:
    """Where lines go; one that is gone, or never was, loses the line and stops nothing."""

    def __init__(self, file: TextIO | None) -> None:
        self._file = file
        self._descriptor: int | None = None
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or no file at all
            self._descriptor = file.fileno() if file is not None else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other._file is self._file

    __hash__ = None  # type: ignore[assignment]

    def is_journal(self, environ: Mapping[str, str]) -> bool:
        """Return whether this goes to the journal (systemd.exec(5), $JOURNAL_STREAM)."""
        if self._descriptor is None:
            return False
        try:
            status = os.fstat(self._descriptor)
        except OSError:
            return False
        return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"

    def write(self, line: str, encoding: str | None) -> None:
        """Write one line, in ``encoding`` or the stream's own, and wait for it as long as it takes."""
        if self._file is None:
            return
        with contextlib.suppress(OSError, ValueError):  # nowhere is left to complain to
            if self._descriptor is None:
                self._file.write(f"{line}\n")
                self._file.flush()
            else:
                _write(self._descriptor, f"{line}\n".encode(encoding or self._encoding(), "backslashreplace"))

    def flush(self) -> None:
        """Write out what others have written through Python's buffers, so that lines stay in order."""
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):
                self._file.flush()

    def _encoding(self) -> str:
        return getattr(self._file, "encoding", None) or "utf-8"


def _write(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # somebody who shares it has made it so
            select.select([], [descriptor], [])


class Output:
    """A stream, and how lines look on it."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._render: Render = TextRender(journal=False)
        self._now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
        self._with_traceback = False
        self._library_level = logging.WARNING

    def set_form(
        self, render: Render, now: Callable[[], dt.datetime], *, with_traceback: bool, library_level: int
    ) -> None:
        """Set how lines look from now on, and from which level on those of libraries are written."""
        self._render, self._now = render, now
        self._with_traceback, self._library_level = with_traceback, library_level

    def is_wanted(self, record: logging.LogRecord) -> bool:
        """Return whether a record is ours, or a library's and serious enough."""
        return isinstance(record, Record) or record.levelno >= self._library_level

    def entry(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return a record as plain values."""
        return entry_of(record, self._now, with_traceback=self._with_traceback)

    def write(self, entry: dict[str, Any]) -> None:
        """Write one line."""
        self.stream.write(self._render(entry), self._render.encoding)


class DirectHandler(logging.Handler):
    """Writes a line before the call that logs it returns."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self.output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        if self.output.is_wanted(record):
            self.output.stream.flush()
            self.output.write(self.output.entry(record))


class QueuedHandler(QueueHandler):
    """Puts lines into a bounded queue before one writing thread; what finds no room is dropped and counted."""

    queue: queue.Queue[dict[str, Any] | None]

    def __init__(self, output: Output, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(queue.Queue(QUEUE_LINES))
        self.output = output
        self._counts = threading.Lock()
        self._dropped = 0
        self._limit = Limit(monotonic)
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; never waits, never raises."""
        try:
            if not self.output.is_wanted(record):
                return
            entry = self.output.entry(record)
            with self._counts:
                is_debug = record.levelno <= logging.DEBUG
                is_admitted = is_debug or self._limit.admits(entry["action"], record.levelno)
            if is_admitted:
                self.enqueue(entry)
        except Exception:  # noqa: BLE001 - logging's own rule: a record that cannot be written stops nobody
            self._count_dropped()

    def enqueue(self, record: Any) -> None:
        """Put one line into the queue, or count it."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self._count_dropped()

    def flush(self) -> None:
        """Say what was left out, and wait until what is queued is written, at most ``FLUSH_SECONDS``."""
        with self._counts:
            limited = self._limit.take_left_out(at_once=True)
        for record in _left_out(0, limited):
            self.enqueue(self.output.entry(record))
        with self.queue.all_tasks_done:
            self.queue.all_tasks_done.wait_for(lambda: not self.queue.unfinished_tasks, FLUSH_SECONDS)

    def close(self) -> None:
        """Let the thread end when it has written what is queued."""
        self._is_closed = True
        with contextlib.suppress(queue.Full):
            self.queue.put_nowait(None)
        super().close()

    def _count_dropped(self) -> None:
        with self._counts:
            self._dropped += 1

    def _work(self) -> None:
        while not (self._is_closed and self.queue.empty()):
            try:
                entry = self.queue.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                self._tell_left_out()
                continue
            try:
                if entry is not None:
                    self.output.write(entry)
                    self._tell_left_out()
            except Exception:  # noqa: BLE001 - a line that cannot be written must not end the log
                self._count_dropped()
            finally:
                self.queue.task_done()

    def _tell_left_out(self) -> None:
        with self._counts:
            dropped, self._dropped = self._dropped, 0
            limited = self._limit.take_left_out()
        for record in _left_out(dropped, limited):
            self.output.write(self.output.entry(record))


def _left_out(dropped: int, limited: Counter[str]) -> Iterator[Record]:
    """Yield the lines that say how many others are missing."""
    if dropped:
        sentence = "lines of this log were dropped: nobody took them in time"
        yield Record("agent.log", logging.WARNING, sentence, "log_dropped", {"count": dropped})
    if limited:
        sentence = "lines of this log were left out: too many within a minute"
        fields = {"count": limited.total(), "actions": dict(limited.most_common())}
        yield Record("agent.log", logging.WARNING, sentence, "log_limited", fields)


class Limit:
    """Counts lines within windows of a minute; the callers see to it that one thread at a time asks."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._since = monotonic()
        self._admitted: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._due: Counter[str] = Counter()

    def admits(self, action: str, level: int) -> bool:
        """Count one line, and return whether it may be written."""
        self._turn()
        most = WARNINGS_A_WINDOW if level >= logging.WARNING else INFO_A_WINDOW
        if self._admitted[action] >= most or self._admitted.total() >= LINES_A_WINDOW:
            self._left_out[action] += 1
            return False
        self._admitted[action] += 1
        return True

    def take_left_out(self, *, at_once: bool = False) -> Counter[str]:
        """Return how many lines of each action were left out in windows that have passed, once.

        With ``at_once`` those of the present window are counted too.
        """
        self._turn()
        due, self._due = self._due, Counter()
        if at_once:
            due += self._left_out
            self._left_out.clear()
        return due

    def _turn(self) -> None:
        if self._monotonic() - self._since >= WINDOW_SECONDS:
            self._since = self._monotonic()
            self._due += self._left_out
            self._admitted.clear()
            self._left_out.clear()
