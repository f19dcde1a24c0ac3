"""``recorder-agent led``: find the recorder among many; show that the service has died."""

import contextlib
import os
import time

import click

from agent import log
from agent.control.server import NotRunning
from agent.errors import AgentError, ConfigError
from agent.facade.context import Session
from agent.panel.led import FAST_SECONDS, identify_by_hand
from agent.panel.led_driver import SysfsLedDriver, led_driver_for
from agent.process.state_directory import Process
from agent.terminal.help import HelpGroup
from agent.terminal.output import echo

IDENTIFY_SECONDS = 10.0


@click.group(cls=HelpGroup)
def led() -> None:
    """The status LED."""


@led.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.5, max=600),
    default=IDENTIFY_SECONDS,
    show_default=True,
    help="How long.",
)
@click.pass_obj
def identify(session: Session, seconds: float) -> None:
    """Flicker unmistakably, to find this recorder among many."""
    log.configure("error", session.loaded.config.log.format)
    if session.loaded.config.led.driver == "none":
        raise AgentError('there is no LED: led.driver is "none"', 'set it to "sysfs" or "gpio"')
    try:
        session.ask(Process.RECORDER, {"command": "identify", "seconds": seconds})
    except NotRunning:
        driver = led_driver_for(session.loaded.config.led)
        if driver is not None:
            identify_by_hand(driver, seconds, time.sleep)
    echo(f"the LED flickers for {seconds:.0f} s")


@led.command(hidden=True)
@click.pass_obj
def fault(session: Session) -> None:
    """Leave the fault pattern behind, driven by the kernel: for ExecStopPost of the unit.

    Nothing happens unless systemd's $SERVICE_RESULT says that the service has failed, nor for an LED on GPIO
    pins: those are let go with the process that drove them.
    """
    log.configure("error", "text")
    if os.environ.get("SERVICE_RESULT", "success") == "success":
        return
    with contextlib.suppress(ConfigError):  # the service has just died of them, and said so
        settings = session.loaded.config.led
        if settings.driver == "sysfs":
            driver = led_driver_for(settings)
            if isinstance(driver, SysfsLedDriver):
                driver.blink_by_kernel(FAST_SECONDS, time.sleep)
