"""The fault pattern that stays behind: ``led fault``, as ExecStopPost runs it."""

import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fakeleds import FakeLed

from agent.cli.root import root
from agent.errors import AgentError
from agent.panel import led_driver
from agent.panel.led_driver import Colour, SysfsLedDriver


def fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: str | None, settings: str = "") -> Result:
    """Run ``led fault`` on the lights under ``leds``, after a service that ended with a result."""
    monkeypatch.setattr(led_driver, "SYSFS", tmp_path / "leds")
    monkeypatch.setattr(led_driver.led_driver_for, "__defaults__", (tmp_path / "leds",))
    monkeypatch.delenv("SERVICE_RESULT", raising=False)
    if result is not None:
        monkeypatch.setenv("SERVICE_RESULT", result)
    config = tmp_path / "config.toml"
    config.write_text(settings or '[led]\ndriver = "sysfs"\n', "utf-8")
    return CliRunner().invoke(root, ["--config", str(config), "led", "fault"])


@pytest.mark.parametrize("result", ["watchdog", "exit-code", "signal", "oom-kill", "timeout"])
def test_a_service_that_died_leaves_a_fast_blink(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: str
) -> None:
    """The kernel blinks it at the pace of the table's fault: 0.1 s on, 0.1 s off."""
    with FakeLed(tmp_path / "leds", most=255) as led:
        ended = fault(tmp_path, monkeypatch, result)
    assert (ended.exit_code, ended.output) == (0, "")
    assert (led.read("trigger"), led.read("delay_on"), led.read("delay_off")) == ("timer", "100", "100")
    assert led.read("brightness") == "255"
    assert led.stray == set()


@pytest.mark.parametrize("result", ["success", None])
def test_an_orderly_stop_leaves_the_light_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: str | None
) -> None:
    """The service has darkened it itself; and nobody is told of a death by hand."""
    led = FakeLed(tmp_path / "leds")
    assert fault(tmp_path, monkeypatch, result).exit_code == 0
    assert led.read("trigger") == "none [mmc0] timer\n"


def test_brightness_0_stays_dark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants no LED gets none, not even then."""
    with FakeLed(tmp_path / "leds") as led:
        fault(tmp_path, monkeypatch, "watchdog", '[led]\ndriver = "sysfs"\nbrightness = 0\n')
    assert (led.read("trigger"), led.read("brightness")) == ("none", "0")


def test_brightness_0_is_dark_on_a_light_that_is_active_low(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, dark is the highest value."""
    with FakeLed(tmp_path / "leds", most=255) as led:
        settings = '[led]\ndriver = "sysfs"\nbrightness = 0\nactive_low = true\n'
        fault(tmp_path, monkeypatch, "watchdog", settings)
    assert (led.read("trigger"), led.read("brightness")) == ("none", "255")


@pytest.mark.parametrize(
    "settings", ['[led]\ndriver = "none"\n', '[led]\ndriver = "gpio"\npins = [17]\n', "[led]\ndriver = 5\n"]
)
def test_without_a_light_of_the_kernel_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str
) -> None:
    """No light, pins that were let go with their process, or settings the service has just died of."""
    ended = fault(tmp_path, monkeypatch, "exit-code", settings)
    assert (ended.exit_code, ended.output) == (0, "")


def test_a_missing_light_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stop goes on all the same: the unit ignores the exit code."""
    (tmp_path / "leds").mkdir()
    ended = fault(tmp_path, monkeypatch, "watchdog")
    assert isinstance(ended.exception, AgentError)
    assert "there is no LED ACT" in str(ended.exception)


def test_the_pace_is_set_as_soon_as_udev_allows_it(tmp_path: Path) -> None:
    """The kernel makes the files of the pace for root; udev's rule gives the right to them a moment later."""
    with FakeLed(tmp_path, late=0.1) as led:
        SysfsLedDriver("ACT", root=tmp_path).blink_by_kernel(0.1, time.sleep)
    assert (led.read("delay_on"), led.read("delay_off")) == ("100", "100")


def test_a_kernel_without_the_timer_is_one_sentence(tmp_path: Path) -> None:
    """The files of the pace never appear, and are not made: after two seconds it says what to do."""
    waited: list[float] = []
    led = FakeLed(tmp_path)
    status_led = SysfsLedDriver("ACT", root=tmp_path)
    with pytest.raises(AgentError, match=r"ledtrig-timer"):
        status_led.blink_by_kernel(0.1, waited.append)
    assert sum(waited) == pytest.approx(2.0)
    assert led.stray == set()
    assert not (led.folder / "delay_on").exists()


def test_the_daemon_takes_the_light_back(tmp_path: Path) -> None:
    """A service that starts again drives it by itself."""
    with FakeLed(tmp_path) as led:
        SysfsLedDriver("ACT", root=tmp_path).blink_by_kernel(0.1, time.sleep)
        again = SysfsLedDriver("ACT", root=tmp_path)
        assert led.read("trigger") == "none"
        again.show(Colour(0, 1, 0))
    assert led.read("brightness") == "1"
