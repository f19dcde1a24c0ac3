"""A start that goes on is given more time, one that stands still is not; nothing is told once it is over."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.process import starting as starting_module
from agent.process.starting import MORE_SECONDS, Starting, loaded_modules
from agent.process.systemd import Notifier

EXTENDED = f"EXTEND_TIMEOUT_USEC={round(MORE_SECONDS * 1_000_000)}".encode()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """Stand in for systemd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(0.05)
        yield heard


def said(listener: socket.socket) -> list[bytes]:
    """Return what was told by now."""
    messages = []
    try:
        while True:
            messages.append(listener.recv(4096))
    except TimeoutError:
        return messages


def test_progress_buys_time_and_standing_still_buys_none(listener: socket.socket) -> None:
    """Each look that finds more than the one before asks once; a start that hangs is left to its time-out."""
    steps = iter([10, 20, 20, 20, 21, 21])
    telling = Starting(Notifier({"NOTIFY_SOCKET": str(listener.getsockname())}), lambda: next(steps))
    asked = []
    for _ in range(6):
        telling.poll()
        asked.append(said(listener))
    assert asked == [[EXTENDED], [EXTENDED], [], [], [EXTENDED], []]


@pytest.mark.parametrize("over", ["ready", "stopping"])
def test_it_ends_with_the_start(listener: socket.socket, monkeypatch: pytest.MonkeyPatch, over: str) -> None:
    """From begin to READY, or to a stop before it, it tells by itself; afterwards its thread is gone."""
    monkeypatch.setattr(starting_module, "TELL_SECONDS", 0.01)
    notifier = Notifier({"NOTIFY_SOCKET": str(listener.getsockname())})
    counter = iter(range(10**9))
    telling = Starting(notifier, lambda: next(counter))
    notifier.on_ready = telling.end
    telling.begin()
    (thread,) = [each for each in threading.enumerate() if each.name == "starting"]
    listener.settimeout(5)
    assert listener.recv(4096) == EXTENDED
    getattr(notifier, over)()
    thread.join(5)
    assert not thread.is_alive()


def test_without_systemd_nobody_is_told() -> None:
    """By hand there is no thread."""
    Starting(Notifier({})).begin()
    assert not [each for each in threading.enumerate() if each.name == "starting"]


def test_what_is_loaded_counts() -> None:
    """The measure of a start grows with each module that it loads."""
    import sys

    before = loaded_modules()
    sys.modules["recorder_agent_test_module"] = sys
    try:
        assert loaded_modules() == before + 1
    finally:
        del sys.modules["recorder_agent_test_module"]
