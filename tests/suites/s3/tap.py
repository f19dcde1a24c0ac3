"""A wire that is listened to: passes TCP connections on, and keeps all that the client has sent."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_PIECE = 64 * 1024


class Tap:
    """Listens on a port of its own and passes on to one origin; a context manager."""

    def __init__(self, origin: str) -> None:
        upstream = urlsplit(origin)
        assert upstream.hostname
        assert upstream.port
        self._upstream = (upstream.hostname, upstream.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.sent = bytearray()
        """Everything clients have sent, in order."""

    @property
    def origin(self) -> str:
        """What a client is told to connect to."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def head(self) -> dict[str, str]:
        """Return the headers of the first request, names in small letters, its request line under an empty name."""
        first, *lines = bytes(self.sent).partition(b"\r\n\r\n")[0].decode().split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        return {"": first} | {name.lower(): value for name, _, value in pairs}

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):  # the other side was first
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the tap is closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                self._open += [client, server]
                threading.Thread(target=self._pass_on, args=(client, server, self.sent), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, None), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket, kept: bytearray | None) -> None:
        with contextlib.suppress(OSError):  # one side is gone, and so is the other
            while piece := source.recv(_PIECE):
                if kept is not None:
                    kept += piece
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
