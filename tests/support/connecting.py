"""Connections to a control socket, however busy it is."""

import socket
import time
from pathlib import Path

from agent.process.state_directory import connect

ANSWER_SECONDS = 10.0


def connected(path: Path) -> socket.socket:
    """Return a connection; it is waited for."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(ANSWER_SECONDS)
    while True:
        try:
            connect(client, path)
        except BlockingIOError:
            time.sleep(0.002)
        else:
            return client
