"""A pipe for a log, whose reader can stop."""

import contextlib
import io
import os
from collections.abc import Iterator

import pytest

from agent import log


class Pipe:
    """A pipe whose reader can stop; ``write_end`` is the stream of the log."""

    def __init__(self) -> None:
        self.read_end, descriptor = os.pipe()
        self.write_end = os.fdopen(descriptor, "w")

    def fill(self) -> None:
        """Leave no room in it."""
        os.set_blocking(self.write_end.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.write_end.fileno(), b"." * 4096)
        os.set_blocking(self.write_end.fileno(), True)

    def lines(self) -> list[str]:
        """Return what can be read by now, without the filling."""
        os.set_blocking(self.read_end, False)
        data = b""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.read_end, 1 << 16):
                data += chunk
        return data.lstrip(b".").decode().splitlines()

    def close(self) -> None:
        """Close both ends."""
        os.close(self.read_end)
        self.write_end.close()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Give one; the thread that writes into it ends with the test."""
    pipe = Pipe()
    yield pipe
    log.configure("info", "text", io.StringIO())  # the writing thread ends
    pipe.close()
