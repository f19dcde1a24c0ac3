"""The LED itself: an LED of the board through sysfs, or one to three GPIO pins through gpiozero."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from agent.config.schema import LedConfig
from agent.errors import AgentError
from agent.panel.pins import gpiozero_for

SYSFS = Path("/sys/class/leds")
_UDEV_TRIES = 20
_UDEV_SECONDS = 0.1
"""The pace of an LED the kernel drives may be set once udev has given the right to it: a moment later."""


class Colour(NamedTuple):
    """Red, green and blue, each from 0 to 1; an LED of one colour shows the brightest of them."""

    red: float
    green: float
    blue: float

    def dimmed(self, share: float) -> "Colour":
        """Return the colour at a share of its brightness."""
        return Colour(self.red * share, self.green * share, self.blue * share)


DARK = Colour(0, 0, 0)


class LedDriver(Protocol):
    """Shows one colour until told otherwise."""

    in_colours: bool
    """Whether it tells colours apart."""

    def show(self, colour: Colour) -> None:
        """Show a colour; OSError when the LED refuses."""

    def close(self) -> None:
        """Go dark and let go of the hardware."""


class SysfsLedDriver:
    """An LED in /sys/class/leds, such as the Pi's ACT or PWR; the process drives it, no trigger of the kernel does.

    Raises:
        AgentError: there is no such LED, or it may not be driven.
    """

    in_colours = False

    def __init__(
        self, name: str, *, brightness: int = 100, active_low: bool = False, root: Path = SYSFS
    ) -> None:
        self._folder = root / name
        self._share = brightness / 100
        self._active_low = active_low
        self._shown: int | None = None
        if not self._folder.is_dir():
            there = ", ".join(sorted(path.name for path in root.glob("*"))) or "none"
            raise AgentError(
                f"there is no LED {name} in {root} (there: {there})", "set led.name to one of them"
            )
        try:
            self._most = int((self._folder / "max_brightness").read_text())
            self._write("trigger", "none")
        except (OSError, ValueError) as error:
            raise AgentError(
                f"the LED {name} may not be driven ({error})",
                "give the service's group the right to it: the installer's udev rule does",
            ) from error

    def show(self, colour: Colour) -> None:
        """Set the brightness to that of the colour."""
        level = max(colour) * self._share
        value = round((1 - level if self._active_low else level) * self._most)
        if level > 0:  # lights with two states round a small brightness to dark
            value = min(self._most - 1, value) if self._active_low else max(1, value)
        if value != self._shown:
            self._write("brightness", str(value))
            self._shown = value

    def blink_by_kernel(self, seconds: float, wait: Callable[[float], object]) -> None:
        """Let the kernel blink it from now on, on and off for ``seconds`` each, without any process.

        Raises:
            AgentError: the kernel cannot, or only at its own pace of half a second.
        """
        if self._share == 0:
            self.close()
            return
        self.show(Colour(1, 1, 1))
        try:
            self._write("trigger", "timer")
            for name in ("delay_on", "delay_off"):
                self._write_soon(name, str(round(seconds * 1000)), wait)
        except OSError as error:
            raise AgentError(
                f"the kernel does not blink the LED {self._folder.name} as told ({error})",
                "check that it has the trigger timer (`sudo modprobe ledtrig-timer`), and the udev rule",
            ) from error

    def close(self) -> None:
        """Go dark."""
        self._shown = None
        self.show(DARK)

    def _write_soon(self, name: str, value: str, wait: Callable[[float], object]) -> None:
        for _ in range(_UDEV_TRIES):
            try:
                return self._write(name, value)
            except OSError:
                wait(_UDEV_SECONDS)
        return self._write(name, value)

    def _write(self, name: str, value: str) -> None:
        descriptor = os.open(self._folder / name, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode("ascii"))
        finally:
            os.close(descriptor)


class GpioLedDriver:
    """One pin (one colour) or three (red, green, blue), driven through gpiozero (extra ``[gpio]``).

    Raises:
        AgentError: gpiozero is missing, or the pins cannot be driven.
    """

    def __init__(self, pins: tuple[int, ...], *, brightness: int = 100, active_low: bool = False) -> None:
        gpiozero = gpiozero_for('led.driver = "gpio"')
        self._share = brightness / 100
        try:
            self._led: Any = (
                gpiozero.RGBLED(*pins, active_high=not active_low)
                if len(pins) == 3  # noqa: PLR2004 - red, green, blue
                else gpiozero.PWMLED(pins[0], active_high=not active_low)
            )
        except Exception as error:  # the pin libraries beneath raise what they like
            raise AgentError(
                f"the pins {list(pins)} cannot be driven ({error})",
                "check led.pins and the service's group gpio",
            ) from error
        self.in_colours = len(pins) == 3  # noqa: PLR2004 - likewise

    def show(self, colour: Colour) -> None:
        """Set the pins."""
        dimmed = colour.dimmed(self._share)
        try:
            self._led.value = tuple(dimmed) if self.in_colours else max(dimmed)
        except Exception as error:  # likewise
            raise AgentError(f"the pins of the LED refuse ({error})", "check led.pins") from error

    def close(self) -> None:
        """Go dark and free the pins."""
        self._led.off()
        self._led.close()


def led_driver_for(settings: LedConfig, root: Path = SYSFS) -> LedDriver | None:
    """Return the LED of ``[led]``; None for ``driver = "none"``.

    Raises:
        AgentError: it is missing or forbidden.
    """
    if settings.driver == "sysfs":
        return SysfsLedDriver(
            settings.name, root=root, brightness=settings.brightness, active_low=settings.active_low
        )
    if settings.driver == "gpio":
        return GpioLedDriver(settings.pins, brightness=settings.brightness, active_low=settings.active_low)
    return None
