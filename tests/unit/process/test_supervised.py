"""What both processes are alike in: a lock that a command holds is waited for."""

import threading
from pathlib import Path

from agent.process import supervised
from agent.process.state_directory import Process, StateDirectory
from agent.process.supervised import Signals, wait_for_lock
from agent.process.systemd import Notifier


class HeardNotifier(Notifier):
    """Keeps what systemd would have been told."""

    def __init__(self) -> None:
        super().__init__({})
        self.heard: list[str] = []

    def _send(self, state: str, status: str = "") -> None:
        self.heard.append(" ".join(filter(None, (state, status))))


class CountedWaits(threading.Event):
    """An event whose waits end at once; after so many of them something happens."""

    def __init__(self, waits: int, then: threading.Event) -> None:
        super().__init__()
        self.left = waits
        self.then = then

    def wait(self, timeout: float | None = None) -> bool:
        """Return at once."""
        assert timeout == supervised.LOCK_SECONDS
        self.left -= 1
        if not self.left:
            self.then.set()
        return self.left <= 0


def test_the_watchdog_is_fed_while_a_command_holds_the_lock(tmp_path: Path) -> None:
    """A long command beside a service that starts: the holder is named once, and each look feeds the watchdog."""
    state = StateDirectory(tmp_path / "state", tmp_path / "run")
    state.create()
    signals, notifier = Signals(), HeardNotifier()
    signals.wake = CountedWaits(100, signals.stopping)
    with state.command_lock(Process.RECORDER):
        assert wait_for_lock(state, Process.RECORDER, signals, notifier, supervised=False) is None
    ready, *rest = notifier.heard
    assert ready.startswith("READY=1 waiting for recorder-agent")
    assert rest == ["WATCHDOG=1"] * 100
