"""Moments at which something happens unless it is called off: one thread for all of them, not one for each.

A call to the API or to storage sets an alarm or two and nearly always calls them off within milliseconds. Starting a
thread for each costs more than the call itself on a busy machine.
"""

import threading
import time
from collections.abc import Callable

LINGER_SECONDS = 10.0
"""How long the thread stays without an alarm before it ends."""


class Alarm:
    """What happens at a moment of the monotonic clock."""

    def __init__(self, due: float, act: Callable[[], object]) -> None:
        self.due = due
        self.act = act


class Alarms:
    """Alarms that are set and called off by any thread; what they do must be short and raise nothing.

    An alarm that is being acted on can no longer be called off.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._alarms: set[Alarm] = set()
        self._running = False
        self._looks_at = 0.0
        """When the thread looks next, by itself."""

    def after(self, seconds: float, act: Callable[[], object]) -> Alarm:
        """Set an alarm."""
        alarm = Alarm(time.monotonic() + seconds, act)
        with self._changed:
            self._alarms.add(alarm)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            elif alarm.due < self._looks_at:
                self._changed.notify()
        return alarm

    def call_off(self, alarm: Alarm) -> None:
        """Take an alarm back; one that has gone off is no error."""
        with self._changed:
            self._alarms.discard(alarm)

    def _run(self) -> None:
        while True:
            with self._changed:
                due = self._due()
                if due is None:
                    self._running = False
                    return
            for alarm in due:
                alarm.act()

    def _due(self) -> list[Alarm] | None:
        """Wait until alarms are due and return them; None when there has been none for a while."""
        while True:
            now = time.monotonic()
            due = [alarm for alarm in self._alarms if alarm.due <= now]
            if due:
                self._alarms.difference_update(due)
                return due
            idle = not self._alarms
            self._looks_at = now + LINGER_SECONDS if idle else min(alarm.due for alarm in self._alarms)
            woken = self._changed.wait(self._looks_at - now)
            if idle and not woken and not self._alarms:
                return None
