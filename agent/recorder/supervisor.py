"""``recorder-agent run`` by hand: the recorder starts the deliverer, again when it has died, and ends one that hangs.

The deliverer outlives the recorder: it has no parent-death signal. One that an earlier ``run`` has left behind is
found by its lock, kept, and ended with this one.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.log import get_logger
from agent.process.state_directory import Process, StateDirectory
from agent.process.state_lock import holder_of
from agent.status.other_process import OtherProcess
from agent.status.process_documents import DeliveryDocument

log = get_logger(__name__)

POLL_SECONDS = 1.0
"""How often it is seen whether our own deliverer has ended."""
STATUS_SECONDS = 5.0
"""How often it is looked whether one that runs says anything."""
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
"""Seconds until it is started again; doubled each time."""
STEADY_SECONDS = 60.0
"""One that ran for so long begins anew with the first delay."""
KILL_SECONDS = 60.0
"""One that has said nothing for so long is ended."""
STOP_SECONDS = 5.0
MEMORY_BYTES = 256 << 20
"""RLIMIT_DATA: private memory that may be written, thread stacks counted whole."""


def command_line(arguments: Sequence[str]) -> list[str]:
    """Return what runs the agent in this interpreter, without importing from the folder it is called in."""
    return [sys.executable, "-P", "-c", "from agent.cli import main; main()", *arguments]


class Supervisor:
    """Runs in a thread of its own until ``stopping`` is set; then it ends the deliverer."""

    def __init__(
        self,
        state: StateDirectory,
        deliverer: OtherProcess[DeliveryDocument],
        config: Path | None,
        monotonic: Callable[[], float],
    ) -> None:
        self._state = state
        self._deliverer = deliverer
        options = ["--config", str(config)] if config is not None else []
        self._command = command_line([*options, "run", "--only", "deliverer", "--supervised"])
        self._monotonic = monotonic
        self._child: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._due = self._poll_at = 0.0
        self._delay = FIRST_DELAY

    def run(self, stopping: threading.Event) -> None:
        """Keep a deliverer running until ``stopping`` is set."""
        while not stopping.is_set():
            self.turn()
            stopping.wait(POLL_SECONDS)
        self._end()

    def turn(self) -> None:
        """Start one that is due, and end one that hangs."""
        if self._child is not None and self._child.poll() is not None:
            self._has_ended(self._child)
        now = self._monotonic()
        if self._child is not None and now < self._poll_at:
            return
        self._poll_at = now + STATUS_SECONDS
        deliverer = self._deliverer.poll()
        if deliverer.is_running:
            if deliverer.silent_seconds > KILL_SECONDS:
                self._kill()
        elif self._child is None and now >= self._due:
            self._start()

    def reload(self) -> None:
        """Let it read its settings anew."""
        if self._child is not None:
            self._child.send_signal(signal.SIGHUP)

    def _start(self) -> None:
        try:
            self._child = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
            with contextlib.suppress(OSError, ValueError):
                resource.prlimit(self._child.pid, resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        except OSError as error:
            log.error("the deliverer cannot be started", action="delivery_start_failed", error=error)
            self._wait_longer()
            return
        self._started = self._monotonic()

    def _has_ended(self, child: subprocess.Popen[bytes]) -> None:
        self._child = None
        if self._monotonic() - self._started >= STEADY_SECONDS:
            self._delay = FIRST_DELAY
        log.error(
            "the deliverer has ended, and is started again",
            action="delivery_died",
            exit_code=child.returncode,
            seconds=self._delay,
        )
        self._wait_longer()

    def _wait_longer(self) -> None:
        self._due = self._monotonic() + self._delay
        self._delay = min(2 * self._delay, LONGEST_DELAY)

    def _kill(self) -> None:
        log.error("the deliverer hangs, and is ended", action="delivery_hung")
        self._signal(signal.SIGKILL)

    def _end(self) -> None:
        """End it, the hard way at last."""
        child = self._child
        self._signal(signal.SIGTERM)
        if child is None:
            return
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to our own deliverer, or to the one of an earlier ``run``; never to a service's."""
        if self._child is not None:
            self._child.send_signal(number)
            return
        holder = holder_of(self._state.lock_of(Process.DELIVERER))
        if holder is None or not holder.supervised:
            return
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(holder.pid)
            try:
                if (
                    self._deliverer.is_running()
                ):  # the process of that number is still the one that holds the lock
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)
