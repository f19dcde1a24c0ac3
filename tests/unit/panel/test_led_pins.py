"""What arrives at an LED on GPIO pins, as time series, on mock pins."""

from collections.abc import Iterator
from typing import Any

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPWMPin
from light_series import (
    PULSES,
    SYSFS_ALIKE,
    TABLE,
    Series,
    assert_pulses,
    changes,
    clock,
    expected,
    period_of,
    played,
)
from simulated import SimulatedClock

from agent.panel.led_driver import GpioLedDriver
from agent.status.condition import Condition

__all__ = ["clock"]


@pytest.fixture
def pins() -> Iterator[Any]:
    """Give gpiozero pins that are not there."""
    before = Device.pin_factory
    Device.pin_factory = MockFactory(pin_class=MockPWMPin)
    yield Device.pin_factory
    Device.pin_factory.reset()
    Device.pin_factory = before


def on_pins(
    factory: Any, driver: GpioLedDriver, numbers: tuple[int, ...], condition: Condition, clock: SimulatedClock
) -> tuple[list[Series], list[float]]:
    """Show a condition for three periods; return the series of each pin, and their last states."""
    seconds = 3 * period_of(condition)
    series: list[Series] = [[] for _ in numbers]

    def sample() -> None:
        for number, samples in zip(numbers, series, strict=True):
            samples.append((clock.monotonic(), factory.pin(number).state))

    held = [factory.pin(number) for number in numbers]
    played(driver, condition, seconds, clock, sample)
    return [changes(samples, seconds) for samples in series], [float(pin.states[-1].state) for pin in held]


@pytest.mark.parametrize("active_low", [False, True])
@pytest.mark.parametrize("condition", SYSFS_ALIKE)
def test_one_pin(pins: Any, clock: SimulatedClock, condition: Condition, active_low: bool) -> None:
    """An LED of one colour on a pin shows the same series, dim where the table says dim."""
    driver = GpioLedDriver((17,), active_low=active_low)
    (series,), _ = on_pins(pins, driver, (17,), condition, clock)
    _, cycle, colour = TABLE[condition]
    shown = expected(cycle, 3 * period_of(condition), max(colour))
    assert series == [(at, round(1 - value if active_low else value, 3)) for at, value in shown]


@pytest.mark.parametrize("condition", PULSES)
def test_one_pin_pulses(pins: Any, clock: SimulatedClock, condition: Condition) -> None:
    """A pin swells and fades by pulse width."""
    (series,), _ = on_pins(pins, GpioLedDriver((17,)), (17,), condition, clock)
    assert_pulses(series)


@pytest.mark.parametrize("condition", Condition)
def test_three_pins(pins: Any, clock: SimulatedClock, condition: Condition) -> None:
    """Each pin of an RGB light shows its share of the colour in the series of the table, dimmed by the settings."""
    numbers = (17, 27, 22)
    found, _ = on_pins(pins, GpioLedDriver(numbers, brightness=50), numbers, condition, clock)
    colour = PULSES[condition] if condition in PULSES else TABLE[condition][2]
    if condition is Condition.MUTED:  # in colours: red steady
        assert [{value for _, value in series} for series in found] == [{0.5}, {0.0}, {0.0}]
        return
    for series, share in zip(found, colour, strict=True):
        if condition in PULSES and share:
            assert_pulses([(at, 2 * value) for at, value in series])
        elif share:
            shown = expected(TABLE[condition][1], 3 * period_of(condition), share / 2)
            assert series == [(at, round(value, 3)) for at, value in shown]
        else:
            assert {value for _, value in series} == {0.0}


@pytest.mark.parametrize("active_low", [False, True])
def test_pins_are_dark_in_the_end(
    pins: Any, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch, active_low: bool
) -> None:
    """The last state before the pins are let go of is dark."""
    numbers = (17, 27, 22)
    driver = GpioLedDriver(numbers, active_low=active_low)
    dark: list[float] = []
    close = driver._led.close

    def noted() -> None:
        dark.extend(pins.pin(number).state for number in numbers)
        close()

    monkeypatch.setattr(driver._led, "close", noted)
    on_pins(pins, driver, numbers, Condition.RECORDING, clock)
    assert dark == [float(active_low)] * 3
