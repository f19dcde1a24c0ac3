"""How the deliverer hears of a new file at once: a datagram that nobody waits for. It looks by itself anyway."""

import contextlib
import os
import socket
import threading
from pathlib import Path

from agent.log import get_logger
from agent.process.state_directory import bind, short_path

log = get_logger(__name__)

SOCKET = "arrivals.sock"
_LARGEST = 64
_MESSAGE = b"arrived"


def announce(folder: Path) -> None:
    """Tell the deliverer whose runtime folder this is that a file has arrived; nobody there, or no time: no matter."""
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender,
        short_path(folder / SOCKET) as name,
    ):
        sender.sendto(_MESSAGE, name)


class ArrivalsSocket:
    """The deliverer's end. Where it can have no socket a wait ends by itself: files are looked for all the same."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / SOCKET
        self._woken = threading.Event()
        self._socket: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            bind(self._socket, self._path)
        except OSError as error:
            self._socket.close()
            self._socket = None
            log.warning(
                "nobody can tell this process at once that a file has arrived: it can have no socket; it looks itself",
                action="arrivals_unavailable",
                path=str(self._path),
                error=error,
            )

    def wait(self, seconds: float) -> None:
        """Wait until something has arrived, at most so long."""
        if self._socket is None:
            self._woken.wait(seconds)
            return
        self._socket.settimeout(max(0.01, seconds))
        try:
            self._socket.recv(_LARGEST)
            self._socket.setblocking(False)
            while self._socket.recv(_LARGEST):
                pass
        except OSError:
            return

    def wake(self) -> None:
        """End a wait, for good."""
        self._woken.set()
        announce(self._path.parent)

    def close(self) -> None:
        """Remove it."""
        if self._socket is not None:
            self._socket.close()
            with contextlib.suppress(OSError):
                os.unlink(self._path)  # noqa: PTH108 - the folder may be gone
