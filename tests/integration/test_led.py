"""The LED: patterns as time series, on a fake sysfs that refuses what the real one refuses, and on mock pins."""

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from fakeleds import FakeLed
from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPWMPin
from waiting_recordings import agent

from agent.errors import AgentError
from agent.panel.led import PATTERNS, StatusLed
from agent.panel.led_driver import DARK, Colour, GpioLedDriver, SysfsLedDriver
from agent.panel.outcome import OUTCOME_FILE, Outcome, recent_outcome
from agent.panel.patterns import AMBER, IDENTIFY
from agent.status.condition import Condition
from agent.status.condition import condition as condition_of


class Recorded:
    """An LED and a clock in one: notes what is shown for how long, and ends the LED after some seconds."""

    in_colours = False

    def __init__(self, seconds: float) -> None:
        self.series: list[tuple[float, Colour]] = []
        self.now = 0.0
        self.closed = False
        self._seconds = seconds

    def show(self, colour: Colour) -> None:
        """Note a change."""
        if not self.series or self.series[-1][1] != colour:
            self.series.append((round(self.now, 3), colour))

    def close(self) -> None:
        """Go dark."""
        self.closed = True

    def wait(self, stopping: threading.Event, seconds: float) -> bool:
        """Let time pass."""
        self.now += seconds
        if self.now >= self._seconds:
            stopping.set()
        return stopping.is_set()


def played(condition: Condition, seconds: float) -> list[tuple[float, Colour]]:
    """Return the changes of the LED under one condition."""
    driver = Recorded(seconds)
    status_led = StatusLed(driver, lambda: condition, driver.wait)
    status_led.run()
    assert driver.closed
    return driver.series


def lit_spans(series: list[tuple[float, Colour]]) -> list[tuple[float, float]]:
    """Return when the LED was on, as (from, to), without the last, which may be cut."""
    ends = [at for at, _ in series[1:]]
    return [(at, end) for (at, colour), end in zip(series, ends, strict=False) if colour != DARK]


@pytest.mark.parametrize(
    ("condition", "period", "flashes"),
    [
        (Condition.STORAGE_FULL, 2.0, 2),
        (Condition.NO_MICROPHONE, 2.5, 3),
        (Condition.IDLE_WAITING, 10.0, 2),
        (Condition.IDLE, 10.0, 1),
        (Condition.NO_CREDENTIAL, 2.0, 1),
        (Condition.FAULT, 0.2, 1),
    ],
)
def test_flashes_in_a_period(condition: Condition, period: float, flashes: int) -> None:
    """Each condition has as many flashes in a period as the table says."""
    spans = lit_spans(played(condition, period * 4))
    assert len([span for span in spans if span[0] < period * 2]) == flashes * 2
    assert spans[flashes][0] - spans[0][0] == pytest.approx(period, abs=0.01)


@pytest.mark.parametrize(
    ("condition", "period", "dark"),
    [
        (Condition.RECORDING, 2.0, 1),
        (Condition.RECORDING_OFFLINE, 2.0, 2),
        (Condition.RECORDING_SILENT, 4.0, 3),
    ],
)
def test_gaps_in_a_recording(condition: Condition, period: float, dark: int) -> None:
    """While recording the LED is on, with one, two or three short gaps."""
    series = played(condition, period * 3)
    gaps = [at for at, colour in series if colour == DARK and at < period]
    assert len(gaps) == dark
    assert series[0][1] != DARK


def test_no_two_conditions_look_alike() -> None:
    """On one colour, every condition can be told from every other, but for starting, which pulses as uploading does."""
    seen: dict[tuple[tuple[float, float], ...], Condition] = {}
    for condition in Condition:
        if condition is Condition.STARTING:
            continue
        shape = tuple((max(step.colour), step.seconds) for step in PATTERNS[condition])
        assert shape not in seen, (condition, seen.get(shape))
        seen[shape] = condition


def test_nothing_is_ever_steady() -> None:
    """A daemon that hangs leaves an LED that has stopped moving."""
    assert all(len({step.colour for step in pattern}) > 1 for pattern in PATTERNS.values())


def test_a_new_condition_is_seen_within_half_a_second() -> None:
    """The LED does not finish a ten second pattern first."""
    driver = Recorded(6.0)
    status_led = StatusLed(
        driver,
        lambda: Condition.IDLE if driver.now < 3 else Condition.FAULT,
        driver.wait,
    )
    status_led.run()
    reds = [at for at, colour in driver.series if colour == Colour(1, 0, 0)]
    assert 3.0 <= reds[0] <= 3.5


def test_identify_takes_over_and_ends() -> None:
    """Identify flickers for as long as asked, then the condition's pattern goes on."""
    driver = Recorded(8.0)
    status_led = StatusLed(driver, lambda: Condition.IDLE, driver.wait)
    status_led.identify(2.0)
    status_led.run()
    flicker = [at for at, colour in driver.series if colour == IDENTIFY[4].colour]
    assert len(flicker) >= 3
    assert max(flicker) < 2.2


def test_what_was_refused_is_shown_for_a_while() -> None:
    """Four amber blinks and a pause for as long as asked, then the condition's pattern goes on."""
    driver = Recorded(20.0)
    status_led = StatusLed(driver, lambda: Condition.RECORDING, driver.wait)
    status_led.show_refused(9.0)
    status_led.run()
    amber = [at for at, colour in driver.series if colour == AMBER]
    assert [round(later - at, 2) for at, later in itertools.pairwise(amber)][:7] == [
        0.5,
        0.5,
        0.5,
        1.5,
        0.5,
        0.5,
        0.5,
    ]
    assert 7.0 < max(amber) < 9.0
    assert driver.series[-1][0] > 18


@pytest.mark.parametrize(("age", "is_told"), [(0.0, True), (119.0, True), (121.0, False), (-1.0, False)])
def test_only_a_recent_outcome_is_told(tmp_path: Path, age: float, is_told: bool) -> None:
    """What became of a stick's settings: not again after hours, and nothing that cannot be understood."""
    file = tmp_path / OUTCOME_FILE
    assert recent_outcome(1000.0, tmp_path) is None
    file.write_bytes(msgspec.json.encode(Outcome(accepted=False, boot_seconds=1000.0, sentence="no")))
    assert (recent_outcome(1000.0 + age, tmp_path) is not None) == is_told
    file.write_text('{"accepted": 1}')
    assert recent_outcome(1000.0, tmp_path) is None


def test_a_sysfs_led_takes_the_light_from_the_kernel(tmp_path: Path) -> None:
    """The trigger is switched off first; then only numbers up to max_brightness are written."""
    sysfs = FakeLed(tmp_path, most=255)
    driver = SysfsLedDriver("ACT", brightness=50, root=tmp_path)
    assert sysfs.read("trigger") == "none"
    driver.show(Colour(0, 1, 0))
    assert sysfs.read("brightness") == "128"
    driver.close()
    assert sysfs.read("brightness") == "0"


def test_a_sysfs_led_with_two_states_is_on_at_any_brightness(tmp_path: Path) -> None:
    """ACT knows on and off only: a dim light is on, and brightness 0 is dark."""
    sysfs = FakeLed(tmp_path, most=1)
    SysfsLedDriver("ACT", brightness=20, root=tmp_path).show(Colour(0, 1, 0))
    assert sysfs.read("brightness") == "1"
    SysfsLedDriver("ACT", brightness=0, root=tmp_path).show(Colour(0, 1, 0))
    assert sysfs.read("brightness") == "0"


def test_a_missing_light_is_one_sentence(tmp_path: Path) -> None:
    """The sentence names the lights that are there."""
    FakeLed(tmp_path, "PWR")
    with pytest.raises(AgentError, match=r"there is no LED ACT .*PWR.*led\.name"):
        SysfsLedDriver("ACT", root=tmp_path)


def test_a_forbidden_light_is_one_sentence(tmp_path: Path) -> None:
    """An LED that may not be written is named with the way to the right."""
    sysfs = FakeLed(tmp_path)
    (sysfs.folder / "trigger").unlink()
    os.mkdir(sysfs.folder / "trigger")  # noqa: PTH102 - root may write any file; nobody writes a folder
    with pytest.raises(AgentError, match="may not be driven"):
        SysfsLedDriver("ACT", root=tmp_path)


@pytest.fixture
def mock_pins() -> Iterator[None]:
    """Give gpiozero pins that are not there."""
    before = Device.pin_factory
    Device.pin_factory = MockFactory(pin_class=MockPWMPin)
    yield
    Device.pin_factory.reset()
    Device.pin_factory = before


@pytest.mark.usefixtures("mock_pins")
def test_a_gpio_led_of_three_colours() -> None:
    """Each pin gets its colour, dimmed, and all are dark in the end."""
    driver = GpioLedDriver((17, 27, 22), brightness=50)
    driver.show(Colour(1, 0.5, 0))
    states = [Device.pin_factory.pin(number).state for number in (17, 27, 22)]
    assert states == pytest.approx([0.5, 0.25, 0.0])
    driver.close()


@pytest.mark.usefixtures("mock_pins")
def test_a_gpio_led_of_one_colour_active_low() -> None:
    """An LED between pin and plus is on when the pin is low."""
    driver = GpioLedDriver((17,), active_low=True)
    driver.show(Colour(0, 0, 1))
    assert Device.pin_factory.pin(17).state == 0
    driver.show(DARK)
    assert Device.pin_factory.pin(17).state == 1
    driver.close()


def test_an_index_that_fails_does_not_end_the_light(tmp_path: Path) -> None:
    """The condition is asked for at every step: without the index it is shown without what waits."""
    with agent(tmp_path, "http://127.0.0.1:1") as (parts, _clock):
        parts.outbox.store.close()
        driver = Recorded(3.0)
        StatusLed(
            driver, lambda: condition_of(parts.board.snapshot, parts.outbox.counts()), driver.wait
        ).run()
        parts.outbox.store._open()  # so that the parts can be closed
    assert driver.closed
    assert len(driver.series) > 1
