"""What systemd hears from the agent."""

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.process.systemd import Notifier


@pytest.fixture(params=["path", "abstract"])
def service_manager(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """A datagram socket where systemd would listen, and the environment it would give."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    name = f"@{secrets.token_hex(8)}" if request.param == "abstract" else str(tmp_path / "notify")
    listener.bind(name.replace("@", "\0"))
    listener.settimeout(5)
    yield listener, {"NOTIFY_SOCKET": name}
    listener.close()


def test_each_message_is_one_datagram(service_manager: tuple[socket.socket, dict[str, str]]) -> None:
    """All of them, word for word; a status is one line whatever is in it."""
    listener, environ = service_manager
    notifier = Notifier(environ, monotonic=lambda: 12.5)
    notifier.ready("recording")
    notifier.status("idle\nREADY=0")
    notifier.watchdog()
    notifier.reloading()
    notifier.ready()
    notifier.stopping("bye")
    assert [listener.recv(4096) for _ in range(6)] == [
        b"READY=1\nSTATUS=recording",
        b"STATUS=idle READY=0",
        b"WATCHDOG=1",
        b"RELOADING=1\nMONOTONIC_USEC=12500000",
        b"READY=1",
        b"STOPPING=1\nSTATUS=bye",
    ]


@pytest.mark.parametrize("name", ["", "vsock:2:1234", "relative"])
def test_without_a_socket_nothing_happens(name: str) -> None:
    """Not started by systemd, or addressed in a way nobody serves: no error."""
    Notifier({"NOTIFY_SOCKET": name}).ready("x")
    Notifier({}).watchdog()


def test_a_service_manager_that_is_away_stops_nobody(tmp_path: Path) -> None:
    """The socket is missing while systemd starts itself anew."""
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).watchdog()
