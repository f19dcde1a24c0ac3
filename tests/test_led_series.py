"""What arrives at the lamp, as time series, against the table of design 5 typed anew: sysfs and mock pins."""

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPWMPin
from logcapture import capture_logs
from simulated import SimulatedClock

from agent.config import LedConfig
from agent.status import lamp as lamps
from agent.status import led
from agent.status.lamp import GpioLamp, Lamp, SysfsLamp, lamp_for
from agent.status.led import Light
from agent.status.patterns import blinks
from agent.status.table import Condition

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
    lamp: Lamp, condition: Condition, seconds: float, clock: SimulatedClock, sample: Any = None
) -> None:
    """Show a condition for so long; ``sample`` is called whenever time is about to pass."""

    def wait(event: Any, left: float) -> bool:
        if sample is not None:
            sample()
        return clock.wait(event, left)

    light = Light(lamp, lambda: condition, wait)
    clock.after(seconds, light.stop)
    light.run()


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


# a light of the board


class Sysfs:
    """A folder of /sys/class/leds, and the kernel behind it: stands where ``lamp`` has its ``os``.

    No file can be made there, and nonsense is refused with the kernel's own errors (kstrtoul, known triggers only).
    """

    triggers = ("none", "mmc0", "timer", "heartbeat", "default-on")

    def __init__(self, root: Path, clock: SimulatedClock, most: int) -> None:
        self.root = root
        self.most = most
        self.log: list[tuple[float, str, str]] = []
        """When what was written to which file."""
        self._clock = clock
        self._opened: dict[int, str] = {}
        light = root / "ACT"
        light.mkdir()
        (light / "max_brightness").write_text(f"{most}\n")
        (light / "trigger").write_text("none [mmc0] timer heartbeat default-on\n")
        (light / "brightness").write_text("0\n")

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        """Open a file that is there; only two of them can be written."""
        assert path.parent == self.root / "ACT"
        if flags & os.O_ACCMODE != os.O_RDONLY and path.name not in {"brightness", "trigger"}:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        descriptor = os.open(path, flags & ~os.O_CREAT, mode)
        self._opened[descriptor] = path.name
        return descriptor

    def write(self, descriptor: int, data: bytes) -> int:
        """Do what the kernel does with what was written."""
        name, text = self._opened[descriptor], data.decode("ascii")
        known = text.strip() in self.triggers if name == "trigger" else text.strip().isdecimal()
        if not known:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
        self.log.append((self._clock.monotonic(), name, text))
        return os.write(descriptor, data)

    def series(self, *, active_low: bool = False) -> Series:
        """Return the brightness that arrived, from 0 to 1."""
        written = [(at, int(text) / self.most) for at, name, text in self.log if name == "brightness"]
        return [(at, 1 - value if active_low else value) for at, value in written]


@pytest.fixture
def clock() -> SimulatedClock:
    """Time that begins at 0."""
    return SimulatedClock(monotonic=0.0)


MakeBoard = Callable[[int], Sysfs]


@pytest.fixture
def board(tmp_path: Path, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch) -> MakeBoard:
    """Return what makes a fake sysfs whose light has so many levels above dark."""

    def make(most: int) -> Sysfs:
        sysfs = Sysfs(tmp_path, clock, most)
        monkeypatch.setattr(lamps, "os", sysfs)
        return sysfs

    return make


@pytest.mark.parametrize("most", [1, 255])
@pytest.mark.parametrize("condition", SYSFS_ALIKE)
def test_sysfs_series(board: MakeBoard, clock: SimulatedClock, condition: Condition, most: int) -> None:
    """Each change of brightness arrives when the table says, for three periods, and the light is dark in the end."""
    seconds = 3 * period_of(condition)
    sysfs = board(most)
    lamp = lamp_for(LedConfig(driver="sysfs"), sysfs.root)
    assert lamp is not None
    played(lamp, condition, seconds, clock)
    assert sysfs.log[0][1:] == ("trigger", "none")
    _, cycle, colour = TABLE[condition]
    bright = max(colour) if most > 1 else 1.0
    assert changes(sysfs.series(), seconds) == expected(cycle, seconds, bright)
    assert sysfs.log[-1][1:] == ("brightness", "0")


@pytest.mark.parametrize("condition", PULSES)
def test_sysfs_pulse(board: MakeBoard, clock: SimulatedClock, condition: Condition) -> None:
    """A light with many levels swells and fades once in 1.6 s."""
    sysfs = board(255)
    played(SysfsLamp("ACT", root=sysfs.root), condition, 3 * PULSE_SECONDS, clock)
    assert_pulses(changes(sysfs.series(), 3 * PULSE_SECONDS))


def assert_pulses(series: Series) -> None:
    """Assert that it swells and fades, three times, from nearly dark to full."""
    values = [value for _, value in series]
    peaks = [at for at, value in series if value == pytest.approx(1.0)]
    assert [round(b - a, 3) for a, b in itertools.pairwise(peaks)] == [PULSE_SECONDS] * 2
    assert min(values) < 0.2
    assert all(abs(b - a) < 0.5 for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("condition", list(Condition))
def test_a_light_of_two_states_is_never_steady(
    board: MakeBoard, clock: SimulatedClock, condition: Condition
) -> None:
    """Also ACT, which knows on and off only, tells a living daemon from one that hangs."""
    sysfs = board(1)
    played(SysfsLamp("ACT", root=sysfs.root), condition, 60, clock)
    series = changes(sysfs.series(), 60)
    assert len(series) >= 2 * 60 / 10


@pytest.mark.parametrize("most", [1, 255])
@pytest.mark.parametrize("condition", list(SYSFS_ALIKE))
def test_sysfs_active_low(board: MakeBoard, clock: SimulatedClock, condition: Condition, most: int) -> None:
    """A light that is on when its line is low shows the same series, and is dark in the end."""
    seconds = 3 * period_of(condition)
    sysfs = board(most)
    lamp = SysfsLamp("ACT", active_low=True, root=sysfs.root)
    played(lamp, condition, seconds, clock)
    _, cycle, colour = TABLE[condition]
    bright = max(colour) if most > 1 else 1.0
    assert changes(sysfs.series(active_low=True), seconds) == expected(cycle, seconds, bright)
    assert sysfs.log[-1][1:] == ("brightness", str(most))


@pytest.mark.parametrize(("percent", "value"), [(100, 255), (50, 128), (1, 3), (0, 0)])
def test_sysfs_brightness(board: MakeBoard, clock: SimulatedClock, percent: int, value: int) -> None:
    """The brightness of the settings holds for every pattern; 0 is dark, whatever there is to show."""
    sysfs = board(255)
    played(SysfsLamp("ACT", brightness=percent, root=sysfs.root), Condition.FAULT, 10, clock)
    assert {int(text) for _, name, text in sysfs.log if name == "brightness"} == {0, value}


def test_the_fake_refuses_what_the_kernel_refuses(board: MakeBoard) -> None:
    """Unknown triggers, words and negative numbers for brightness, and files that are not there."""
    sysfs = board(1)
    light = sysfs.root / "ACT"
    for name, text in (
        ("trigger", "party"),
        ("brightness", "on"),
        ("brightness", "-1"),
        ("brightness", "0.5"),
    ):
        with pytest.raises(OSError, match="Invalid argument"):
            sysfs.write(sysfs.open(light / name, os.O_WRONLY), text.encode())
    for name in ("max_brightness", "delay_on"):
        with pytest.raises(PermissionError):
            sysfs.open(light / name, os.O_WRONLY | os.O_CREAT)
    assert sysfs.log == []


def test_a_light_that_starts_to_refuse_is_left_alone(
    board: MakeBoard, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The light's own thread ends with one warning, and nothing else is harmed."""
    sysfs = board(1)

    def gone(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    lamp = SysfsLamp("ACT", root=sysfs.root)
    clock.after(5, lambda: monkeypatch.setattr(sysfs, "write", gone))
    with capture_logs() as logs:
        played(lamp, Condition.FAULT, 10, clock)
    assert [(line["log_level"], line["action"]) for line in logs] == [("warning", "led_failed")]


def test_a_wrong_pattern_does_not_pass(
    board: MakeBoard, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison tells three blinks from two."""
    monkeypatch.setitem(
        led.PATTERNS, Condition.STORAGE_FULL, blinks(led.PATTERNS[Condition.STORAGE_FULL][0].colour, 3)
    )
    with pytest.raises(AssertionError):
        test_sysfs_series(board, clock, Condition.STORAGE_FULL, 255)


# lights on GPIO pins


@pytest.fixture
def pins() -> Iterator[Any]:
    """Give gpiozero pins that are not there."""
    before = Device.pin_factory
    Device.pin_factory = MockFactory(pin_class=MockPWMPin)
    yield Device.pin_factory
    Device.pin_factory.reset()
    Device.pin_factory = before


def on_pins(
    factory: Any, lamp: GpioLamp, numbers: tuple[int, ...], condition: Condition, clock: SimulatedClock
) -> tuple[list[Series], list[float]]:
    """Show a condition for three periods; return the series of each pin, and their last states."""
    seconds = 3 * period_of(condition)
    series: list[Series] = [[] for _ in numbers]

    def sample() -> None:
        for number, samples in zip(numbers, series, strict=True):
            samples.append((clock.monotonic(), factory.pin(number).state))

    held = [factory.pin(number) for number in numbers]
    played(lamp, condition, seconds, clock, sample)
    return [changes(samples, seconds) for samples in series], [float(pin.states[-1].state) for pin in held]


@pytest.mark.parametrize("active_low", [False, True])
@pytest.mark.parametrize("condition", SYSFS_ALIKE)
def test_one_pin(pins: Any, clock: SimulatedClock, condition: Condition, active_low: bool) -> None:
    """A light of one colour on a pin shows the same series, dim where the table says dim."""
    lamp = GpioLamp((17,), active_low=active_low)
    (series,), _ = on_pins(pins, lamp, (17,), condition, clock)
    _, cycle, colour = TABLE[condition]
    shown = expected(cycle, 3 * period_of(condition), max(colour))
    assert series == [(at, round(1 - value if active_low else value, 3)) for at, value in shown]


@pytest.mark.parametrize("condition", PULSES)
def test_one_pin_pulses(pins: Any, clock: SimulatedClock, condition: Condition) -> None:
    """A pin swells and fades by pulse width."""
    (series,), _ = on_pins(pins, GpioLamp((17,)), (17,), condition, clock)
    assert_pulses(series)


@pytest.mark.parametrize("condition", Condition)
def test_three_pins(pins: Any, clock: SimulatedClock, condition: Condition) -> None:
    """Each pin of an RGB light shows its share of the colour in the series of the table, dimmed by the settings."""
    numbers = (17, 27, 22)
    found, _ = on_pins(pins, GpioLamp(numbers, brightness=50), numbers, condition, clock)
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
    lamp = GpioLamp(numbers, active_low=active_low)
    dark: list[float] = []
    close = lamp._led.close

    def noted() -> None:
        dark.extend(pins.pin(number).state for number in numbers)
        close()

    monkeypatch.setattr(lamp._led, "close", noted)
    on_pins(pins, lamp, numbers, Condition.RECORDING, clock)
    assert dark == [float(active_low)] * 3
