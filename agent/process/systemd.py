"""What systemd is told (sd_notify(3)): one datagram to the socket it named; without one, nothing."""

import os
import socket
import time
from collections.abc import Callable, Mapping

_SEND_SECONDS = 2.0


def is_service(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether systemd runs this process."""
    return "NOTIFY_SOCKET" in environ


class Notifier:
    """Tells systemd how the service is. A message that cannot be sent is lost, and nothing stops."""

    def __init__(
        self, environ: Mapping[str, str] = os.environ, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._monotonic = monotonic
        self.on_ready: Callable[[], object] = lambda: None
        """Called when the service has started, or ends before it has."""

    @property
    def is_heard(self) -> bool:
        """Whether there is a systemd that listens."""
        return bool(self._address)

    def extend(self, seconds: float) -> None:
        """Ask for so much more time, from now on, for what is under way: the start, or the stop."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}")

    def ready(self, status: str = "") -> None:
        """Say that the service has started, or has reloaded."""
        self.on_ready()
        self._send("READY=1", status)

    def status(self, text: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        self._send("", text)

    def watchdog(self) -> None:
        """Say that the service makes progress."""
        self._send("WATCHDOG=1")

    def reloading(self, status: str = "") -> None:
        """Say that the settings are being read anew; ``ready`` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(self._monotonic() * 1_000_000)}", status)

    def stopping(self, status: str = "") -> None:
        """Say that the service is about to end."""
        self.on_ready()
        self._send("STOPPING=1", status)

    def _send(self, state: str, status: str = "") -> None:
        if not self._address:
            return
        text = f"STATUS={' '.join(status.split())}" if status else ""
        message = "\n".join(filter(None, (state, text))).encode("utf-8", "replace")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(_SEND_SECONDS)
                sender.sendto(message, self._address)
        except OSError:  # systemd restarts itself now and then; the next message arrives
            return


def _address(name: str) -> str:
    """Return the socket's address: a path, or an abstract name written with ``@``; "" for anything else."""
    if name.startswith("@"):
        return f"\0{name[1:]}"
    return name if name.startswith("/") else ""
