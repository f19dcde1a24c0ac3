"""Deadlines of calls: one thread looks after all of them, and acts on those that nobody called off."""

import threading
import time

import pytest
from acceptance import wait_for

from agent.api.transport import alarms as module
from agent.api.transport.alarms import Alarms

NAME = "alarms of these tests"
ENDING = "alarms that end"
SOON = 0.05


def threads(name: str) -> int:
    """How many threads look after the alarms of that name."""
    return sum(thread.name == name for thread in threading.enumerate())


def test_alarms_go_off_in_time_and_those_called_off_never() -> None:
    """What is due is acted on in the order of the moments, also when it was set later than one that is due later."""
    alarms, heard = Alarms("order"), []
    alarms.after(3 * SOON, lambda: heard.append("second"))
    called_off = alarms.after(2 * SOON, lambda: heard.append("never"))
    alarms.after(SOON, lambda: heard.append("first"))
    alarms.call_off(called_off)
    wait_for(lambda: len(heard) == 2)
    assert heard == ["first", "second"]


def test_a_thousand_alarms_that_are_called_off_take_one_thread() -> None:
    """Calls that end well cost no thread each."""
    alarms = Alarms(NAME)
    most = 0
    for _ in range(1000):
        alarm = alarms.after(60, lambda: None)
        most = max(most, threads(NAME))
        alarms.call_off(alarm)
    assert most == 1


def test_without_alarms_the_thread_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes after a while, and another one begins with the next alarm."""
    monkeypatch.setattr(module, "LINGER_SECONDS", SOON)
    alarms = Alarms(ENDING)
    alarms.call_off(alarms.after(SOON, lambda: None))
    wait_for(lambda: threads(ENDING) == 0)
    heard = threading.Event()
    alarms.after(SOON, heard.set)
    assert heard.wait(10)


def test_an_alarm_may_set_the_next_one() -> None:
    """What an alarm does may set another, as an upload that is looked at again and again does."""
    alarms, times = Alarms("again"), []

    def again() -> None:
        times.append(time.monotonic())
        if len(times) < 3:
            alarms.after(SOON, again)

    alarms.after(SOON, again)
    wait_for(lambda: len(times) == 3)
    assert times[2] - times[0] >= 2 * SOON
