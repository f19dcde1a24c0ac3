"""``recorder-agent led``: find the recorder among many, and the light of a service that has died."""

import os
import time

import click

from agent import log
from agent.cli.context import Session
from agent.errors import AgentError
from agent.status.control import NoDaemon, ask
from agent.status.lamp import SysfsLamp, lamp_for
from agent.status.led import FAULT_MILLISECONDS, identify_by_hand

IDENTIFY_SECONDS = 10.0


@click.group()
def led() -> None:
    """The status light."""


@led.command()
@click.option(
    "--seconds", type=click.FloatRange(min=0.5, max=600), default=IDENTIFY_SECONDS, show_default=True
)
@click.pass_obj
def identify(session: Session, seconds: float) -> None:
    """Flicker unmistakably, to find this recorder among many."""
    log.configure("error", session.loaded.config.log.format)
    if session.loaded.config.led.driver == "none":
        raise AgentError('there is no light: led.driver is "none"; set it to "sysfs" or "gpio"')
    try:
        ask(session.state.socket, {"command": "identify", "seconds": seconds})
    except NoDaemon:
        lamp = lamp_for(session.loaded.config.led)
        if lamp is not None:
            identify_by_hand(lamp, seconds, time.sleep)
    click.echo(f"the light flickers for {seconds:.0f} s")


@led.command(hidden=True)
@click.pass_obj
def fault(session: Session) -> None:
    """Show that the service has died: what ExecStopPost runs. A clean stop stays dark."""
    settings = session.loaded.config.led
    if os.environ.get("SERVICE_RESULT", "success") == "success" or settings.driver != "sysfs":
        return
    SysfsLamp(settings.name, brightness=settings.brightness, active_low=settings.active_low).flash_by_kernel(
        FAULT_MILLISECONDS
    )
