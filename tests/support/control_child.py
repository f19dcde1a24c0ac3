"""Serves a control socket in a process of its own, and says how it is; see test_control_connections."""

import resource
import sys
import threading
from pathlib import Path
from typing import Any

from agent.control import server as control
from agent.control.server import ControlServer, Peer, Request


def facts() -> dict[str, int]:
    """Return how much of the machine this process has."""
    status = Path("/proc/self/status").read_text()
    return {
        "rss_kib": int(status.split("VmRSS:")[1].split()[0]),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
    }


def wait(_request: Request, peer: Peer) -> Any:
    """Answer when the asking side has gone."""
    while not peer.gone():
        threading.Event().wait(0.05)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        most = int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        control.IDLE_SECONDS = 1.0
    server = ControlServer(Path(sys.argv[1]), {"facts": lambda _request, _peer: facts(), "wait": wait})
    server.path.chmod(0o666)
    print("serves", flush=True)
    sys.stdin.read()
    server.close()
