"""What an LED should show, as time series: the table of design 5 typed anew, and what plays a condition on an LED."""

import itertools
from typing import Any

import pytest
from simulated import SimulatedClock

from agent.panel.led import StatusLed
from agent.panel.led_driver import LedDriver
from agent.status.condition import Condition

RED, AMBER, YELLOW, GREEN = (1, 0, 0), (1, 0.5, 0), (1, 0.9, 0), (0, 1, 0)
CYAN, BLUE, MAGENTA, WHITE = (0, 1, 1), (0, 0, 1), (1, 0, 1), (1, 1, 1)
DIM_GREEN = (0, 0.4, 0)

Cycle = list[tuple[bool, float]]
"""Lit or dark, and for how many seconds; played over and over."""
Colour = tuple[float, float, float]
Series = list[tuple[float, float]]
"""From when on, in seconds, and how bright, from 0 to 1."""


def short(*, lit: bool) -> tuple[bool, float]:
    """Return a short flash, or a short gap."""
    return (lit, 0.15)


TABLE: dict[Condition, tuple[str, Cycle, Colour]] = {
    Condition.FAULT: ("fast blink", [(True, 0.1), (False, 0.1)], RED),
    Condition.STORAGE_FULL: (
        "2 blinks, pause",
        [(True, 0.25), (False, 0.25), (True, 0.25), (False, 1.25)],
        RED,
    ),
    Condition.NO_MICROPHONE: (
        "3 blinks, pause",
        [*[(True, 0.25), (False, 0.25)] * 2, (True, 0.25), (False, 1.25)],
        MAGENTA,
    ),
    Condition.MUTED: (
        "1 long, 1 short, pause",
        [(True, 0.9), (False, 0.25), short(lit=True), (False, 1.2)],
        RED,
    ),
    Condition.NO_CREDENTIAL: ("slow blink", [(True, 1.0), (False, 1.0)], AMBER),
    Condition.RECORDING_SILENT: (
        "on, 3 short gaps every 4 s",
        [(True, 3.25), *[short(lit=False), short(lit=True)] * 2, short(lit=False)],
        YELLOW,
    ),
    Condition.RECORDING_OFFLINE: (
        "on, 2 short gaps every 2 s",
        [(True, 1.55), short(lit=False), short(lit=True), short(lit=False)],
        BLUE,
    ),
    Condition.RECORDING: ("on, 1 short gap every 2 s", [(True, 1.85), short(lit=False)], GREEN),
    Condition.LISTENING: ("short flash every 3 s", [short(lit=True), (False, 2.85)], DIM_GREEN),
    Condition.IDLE_WAITING: (
        "2 short flashes every 10 s",
        [short(lit=True), short(lit=False), short(lit=True), (False, 9.55)],
        BLUE,
    ),
    Condition.IDLE: ("short flash every 10 s", [short(lit=True), (False, 9.85)], DIM_GREEN),
}
PULSES = {Condition.UPLOADING: CYAN, Condition.STARTING: WHITE}
PULSE_SECONDS = 1.6
SYSFS_ALIKE = [condition for condition in Condition if condition not in PULSES]


def played(
    driver: LedDriver, condition: Condition, seconds: float, clock: SimulatedClock, sample: Any = None
) -> None:
    """Show a condition for so long; ``sample`` is called whenever time is about to pass."""

    def wait(event: Any, left: float) -> bool:
        if sample is not None:
            sample()
        return clock.wait(event, left)

    status_led = StatusLed(driver, lambda: condition, wait)
    clock.after(seconds, status_led.stop)
    status_led.run()


def expected(cycle: Cycle, seconds: float, bright: float = 1.0) -> Series:
    """Return the changes that a cycle makes within some time."""
    series: Series = []
    at = 0.0
    while round(at, 3) < round(seconds, 3):
        for lit, length in cycle:
            if round(at, 3) < round(seconds, 3):
                series.append((round(at, 3), bright * lit))
            at += length
    return series


def changes(samples: Series, before: float) -> Series:
    """Return where a series changes, before some time."""
    found: Series = []
    for at, value in samples:
        if round(at, 3) < round(before, 3) and (not found or found[-1][1] != value):
            found.append((round(at, 3), round(value, 3)))
    return found


def period_of(condition: Condition) -> float:
    """Return the length of a cycle."""
    return sum(length for _, length in TABLE[condition][1]) if condition in TABLE else PULSE_SECONDS


@pytest.fixture
def clock() -> SimulatedClock:
    """Time that begins at 0."""
    return SimulatedClock(monotonic=0.0)


def assert_pulses(series: Series) -> None:
    """Assert that it swells and fades, three times, from nearly dark to full."""
    values = [value for _, value in series]
    peaks = [at for at, value in series if value == pytest.approx(1.0)]
    assert [round(b - a, 3) for a, b in itertools.pairwise(peaks)] == [PULSE_SECONDS] * 2
    assert min(values) < 0.2
    assert all(abs(b - a) < 0.5 for a, b in itertools.pairwise(values))
