"""What arrives at an LED of the board, as time series, on a fake sysfs."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from light_series import (
    PULSE_SECONDS,
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
from logcapture import capture_logs
from simulated import SimulatedClock

from agent.config.schema import LedConfig
from agent.panel import led
from agent.panel import led_driver as leds
from agent.panel.led_driver import SysfsLedDriver, led_driver_for
from agent.panel.patterns import blinks
from agent.status.condition import Condition

__all__ = ["clock"]


class Sysfs:
    """A folder of /sys/class/leds, and the kernel behind it: stands where ``LED`` has its ``os``.

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
        status_led = root / "ACT"
        status_led.mkdir()
        (status_led / "max_brightness").write_text(f"{most}\n")
        (status_led / "trigger").write_text("none [mmc0] timer heartbeat default-on\n")
        (status_led / "brightness").write_text("0\n")

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


MakeBoard = Callable[[int], Sysfs]


@pytest.fixture
def board(tmp_path: Path, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch) -> MakeBoard:
    """Return what makes a fake sysfs whose LED has so many levels above dark."""

    def make(most: int) -> Sysfs:
        sysfs = Sysfs(tmp_path, clock, most)
        monkeypatch.setattr(leds, "os", sysfs)
        return sysfs

    return make


@pytest.mark.parametrize("most", [1, 255])
@pytest.mark.parametrize("condition", SYSFS_ALIKE)
def test_sysfs_series(board: MakeBoard, clock: SimulatedClock, condition: Condition, most: int) -> None:
    """Each change of brightness arrives when the table says, for three periods, and the LED is dark in the end."""
    seconds = 3 * period_of(condition)
    sysfs = board(most)
    driver = led_driver_for(LedConfig(driver="sysfs"), sysfs.root)
    assert driver is not None
    played(driver, condition, seconds, clock)
    assert sysfs.log[0][1:] == ("trigger", "none")
    _, cycle, colour = TABLE[condition]
    bright = max(colour) if most > 1 else 1.0
    assert changes(sysfs.series(), seconds) == expected(cycle, seconds, bright)
    assert sysfs.log[-1][1:] == ("brightness", "0")


@pytest.mark.parametrize("condition", PULSES)
def test_sysfs_pulse(board: MakeBoard, clock: SimulatedClock, condition: Condition) -> None:
    """An LED with many levels swells and fades once in 1.6 s."""
    sysfs = board(255)
    played(SysfsLedDriver("ACT", root=sysfs.root), condition, 3 * PULSE_SECONDS, clock)
    assert_pulses(changes(sysfs.series(), 3 * PULSE_SECONDS))


@pytest.mark.parametrize("condition", list(Condition))
def test_a_light_of_two_states_is_never_steady(
    board: MakeBoard, clock: SimulatedClock, condition: Condition
) -> None:
    """Also ACT, which knows on and off only, tells a living daemon from one that hangs."""
    sysfs = board(1)
    played(SysfsLedDriver("ACT", root=sysfs.root), condition, 60, clock)
    series = changes(sysfs.series(), 60)
    assert len(series) >= 2 * 60 / 10


@pytest.mark.parametrize("most", [1, 255])
@pytest.mark.parametrize("condition", list(SYSFS_ALIKE))
def test_sysfs_active_low(board: MakeBoard, clock: SimulatedClock, condition: Condition, most: int) -> None:
    """An LED that is on when its line is low shows the same series, and is dark in the end."""
    seconds = 3 * period_of(condition)
    sysfs = board(most)
    driver = SysfsLedDriver("ACT", active_low=True, root=sysfs.root)
    played(driver, condition, seconds, clock)
    _, cycle, colour = TABLE[condition]
    bright = max(colour) if most > 1 else 1.0
    assert changes(sysfs.series(active_low=True), seconds) == expected(cycle, seconds, bright)
    assert sysfs.log[-1][1:] == ("brightness", str(most))


@pytest.mark.parametrize(("percent", "value"), [(100, 255), (50, 128), (1, 3), (0, 0)])
def test_sysfs_brightness(board: MakeBoard, clock: SimulatedClock, percent: int, value: int) -> None:
    """The brightness of the settings holds for every pattern; 0 is dark, whatever there is to show."""
    sysfs = board(255)
    played(SysfsLedDriver("ACT", brightness=percent, root=sysfs.root), Condition.FAULT, 10, clock)
    assert {int(text) for _, name, text in sysfs.log if name == "brightness"} == {0, value}


def test_the_fake_refuses_what_the_kernel_refuses(board: MakeBoard) -> None:
    """Unknown triggers, words and negative numbers for brightness, and files that are not there."""
    sysfs = board(1)
    status_led = sysfs.root / "ACT"
    for name, text in (
        ("trigger", "party"),
        ("brightness", "on"),
        ("brightness", "-1"),
        ("brightness", "0.5"),
    ):
        with pytest.raises(OSError, match="Invalid argument"):
            sysfs.write(sysfs.open(status_led / name, os.O_WRONLY), text.encode())
    for name in ("max_brightness", "delay_on"):
        with pytest.raises(PermissionError):
            sysfs.open(status_led / name, os.O_WRONLY | os.O_CREAT)
    assert sysfs.log == []


def test_a_light_that_starts_to_refuse_is_left_alone(
    board: MakeBoard, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The LED's own thread ends with one warning, and nothing else is harmed."""
    sysfs = board(1)

    def gone(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    driver = SysfsLedDriver("ACT", root=sysfs.root)
    clock.after(5, lambda: monkeypatch.setattr(sysfs, "write", gone))
    with capture_logs() as logs:
        played(driver, Condition.FAULT, 10, clock)
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
