"""How the deliverer hears of a new file at once: a datagram that nobody waits for. It looks by itself anyway."""

import contextlib
import os
import socket
from pathlib import Path

from agent.statedir import bind, short_path

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
    """The deliverer's end."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / SOCKET
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        bind(self._socket, self._path)
        self._path.chmod(0o600)

    def wait(self, seconds: float) -> None:
        """Wait until something has arrived, at most so long."""
        self._socket.settimeout(max(0.01, seconds))
        try:
            self._socket.recv(_LARGEST)
            self._socket.setblocking(False)
            while self._socket.recv(_LARGEST):
                pass
        except OSError:
            return

    def wake(self) -> None:
        """End a wait."""
        announce(self._path.parent)

    def close(self) -> None:
        """Remove it."""
        self._socket.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)  # noqa: PTH108 - the folder may be gone
