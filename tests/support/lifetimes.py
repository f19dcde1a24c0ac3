"""What a test opens is closed with it: benches by themselves, databases by whoever opened them."""

import sqlite3
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Protocol

import pytest


class Closable(Protocol):
    """Something that holds files or connections."""

    def close(self) -> None:
        """Let them go."""


_benches: list[ExitStack] = []
"""One for the test that runs; none between tests."""


def closed_after_test(*things: Closable) -> None:
    """Close what a bench has opened when the test ends, the last first; closing it before does no harm."""
    for thing in things:
        _benches[-1].callback(thing.close)


class _Connection(sqlite3.Connection):
    """A connection that remembers where it was opened, until it is closed."""

    opened_at = ""

    def close(self) -> None:
        super().close()
        self.opened_at = ""


@contextmanager
def everything_closed() -> Iterator[None]:
    """Close the benches at the end, and fail for each database that is open then.

    Python itself warns of them from 3.13 on, and only when it happens to collect them: in whichever test that is.
    """
    opened: list[_Connection] = []
    connect: Callable[..., Any] = sqlite3.connect

    def noted(*arguments: Any, **options: Any) -> _Connection:
        connection: _Connection = connect(*arguments, **{"factory": _Connection} | options)
        connection.opened_at = "".join(traceback.format_stack(limit=6)[:-1])
        opened.append(connection)
        return connection

    with ExitStack() as benches, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", noted)
        _benches.append(benches)
        try:
            yield
        finally:
            _benches.remove(benches)
            benches.close()
    left = [connection.opened_at for connection in opened if connection.opened_at]
    for connection in opened:
        with suppress(sqlite3.ProgrammingError):  # another thread's
            connection.close()
    assert not left, "unclosed database, opened here:\n" + "\n".join(left)
