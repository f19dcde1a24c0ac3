"""How answers look: JSON for programs, tables and one moving line for people."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from agent import log, text

REFRESH_SECONDS = 0.2
METER_FLOOR_DBFS = -60.0
METER_WIDTH = 30


def echo(message: object = "", *, err: bool = False, nl: bool = True) -> None:
    r"""Print text for a person; control characters in it, which came from outside, are written out (``\x1b``)."""
    click.echo(text.shown(str(message), keep="\n\t"), err=err, nl=nl)


def print_json(value: Any) -> None:
    """Print one JSON value on a line; a terminal finds nothing in it to obey."""
    click.echo(text.harmless(text.encoded(value).decode()))


def log_nothing() -> None:
    """Let a command's answer and its one sentence say all there is to say."""
    log.silence()


def size(count: int | None) -> str:
    """Return a number of bytes for a person."""
    if count is None:
        return "–"
    if count < 10_000:  # noqa: PLR2004 - where a person stops counting bytes
        return f"{count} B"
    return f"{count / 1000:.0f} kB" if count < 10_000_000 else f"{count / 1_000_000:.1f} MB"  # noqa: PLR2004


def duration(milliseconds: int | None) -> str:
    """Return a length for a person: ``7.3 s``, ``12:05``, ``1:02:03``."""
    if milliseconds is None:
        return "–"
    seconds = milliseconds / 1000
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def meter(level_dbfs: float | None, held_dbfs: float | None = None) -> str:
    """Return a level as a bar and a figure; the peak that is held stands as a line behind the bar."""
    if level_dbfs is None:
        return f"[{' ' * METER_WIDTH}]      –"
    bar = f"{'#' * _filled(level_dbfs):<{METER_WIDTH}}"
    if held_dbfs is not None:
        at = max(0, _filled(held_dbfs) - 1)
        bar = f"{bar[:at]}|{bar[at + 1 :]}"
    return f"[{bar}] {level_dbfs:6.1f} dBFS"


def _filled(dbfs: float) -> int:
    """Return how much of the bar a level fills."""
    return round(METER_WIDTH * (1 - min(0.0, max(dbfs, METER_FLOOR_DBFS)) / METER_FLOOR_DBFS))


def percent(done: int, total: int | None) -> str:
    """Return how much of a whole is done; nothing where the whole is unknown."""
    return f"{min(100, 100 * done // total):3d} %  " if total else ""


def passing_line(words: str) -> None:
    """Show what is being done, in the place of what was shown before, on a terminal's standard error only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text.shown(words)}")
        sys.stderr.flush()


@contextmanager
def moving_line(line: Callable[[], str]) -> Iterator[None]:
    """Show a line that is asked for anew five times a second, on a terminal's standard error only."""
    if not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()

    def show() -> None:
        while not ended.wait(REFRESH_SECONDS):
            sys.stderr.write(f"\r\x1b[K{text.shown(line())}")
            sys.stderr.flush()

    thread = threading.Thread(target=show, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
