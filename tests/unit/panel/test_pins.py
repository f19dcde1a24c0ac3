"""No pins: one sentence that names what is missing, and not a warning for each library that was tried."""

import importlib.util
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory
from logcapture import capture_logs

from agent.config.schema import LedConfig
from agent.errors import AgentError
from agent.panel import pins
from agent.panel.button import Button
from agent.panel.led_driver import led_driver_for
from agent.panel.pins import gpiozero_for


@pytest.fixture(autouse=True)
def no_factory() -> Iterator[None]:
    """Let gpiozero look for a library anew, on a machine that has none."""
    before, Device.pin_factory = Device.pin_factory, None
    yield
    Device.pin_factory = before


@pytest.mark.parametrize("needs", ["led", "button"])
def test_a_machine_without_pins_warns_of_nothing(needs: str) -> None:
    """LED and button alike: the error says all there is to say, and the fallbacks are no warnings."""
    with warnings.catch_warnings(record=True) as said, capture_logs() as logs:
        warnings.simplefilter("always")
        for _ in range(3):
            with pytest.raises(AgentError, match="needs the board's pins, and "):
                _led() if needs == "led" else _button()
    assert not said
    assert not [line for line in logs if line["log_level"] != "debug"]


def _led() -> None:
    led_driver_for(LedConfig(driver="gpio", pins=(17,)))


def _button() -> None:
    Button(17, lambda: None, lambda: None, lambda: 0.0)


def missing(devices: Path) -> str:
    """Return what is said to be missing."""
    with pytest.raises(AgentError) as caught:
        gpiozero_for("led.driver", devices)
    return str(caught.value)


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In turn: no pins at all, no right to them, no library for them, none that drives them."""
    assert f"this machine has none (no {tmp_path}/gpiochip0)" in missing(tmp_path)
    (tmp_path / "gpiochip4").touch()
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda _path, _mode: False)
        assert f"no right to {tmp_path}/gpiochip4; `sudo usermod -aG gpio $USER`, then log out" in missing(
            tmp_path
        )
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda _name: None)
        assert "the library lgpio is missing" in missing(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda _name: object())
        assert "no library drives them (Falling back from lgpio: " in missing(tmp_path)


def test_pins_that_are_there_are_used(tmp_path: Path) -> None:
    """With a library that works nothing is asked of /dev."""
    Device.pin_factory = MockFactory()
    assert gpiozero_for("led.driver", tmp_path / "nowhere").Device is Device
    assert Path("/dev") == pins.DEVICES
