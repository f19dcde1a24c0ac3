"""This host's time for the machine, whose own board tells whole seconds only."""

import socketserver
import threading
import time
from types import TracebackType
from typing import Self


class _Answer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Say the unix time, in seconds, and hang up."""
        self.request.sendall(f"{time.time():.6f}\n".encode())


class HostClock:
    """Tells the time to whoever connects, on ``port`` of the loopback interface."""

    def __init__(self) -> None:
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Answer)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
