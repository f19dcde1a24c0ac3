"""``recorder-agent led``: find the recorder among many."""

import time

import click

from agent import log
from agent.context import Session
from agent.errors import AgentError
from agent.status.control import NoDaemon, ask
from agent.status.lamp import lamp_for
from agent.status.led import identify_by_hand

IDENTIFY_SECONDS = 10.0


@click.group()
def led() -> None:
    """The status light."""


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
        raise AgentError('there is no light: led.driver is "none"; set it to "sysfs" or "gpio"')
    try:
        ask(session.state.socket, {"command": "identify", "seconds": seconds})
    except NoDaemon:
        lamp = lamp_for(session.loaded.config.led)
        if lamp is not None:
            identify_by_hand(lamp, seconds, time.sleep)
    click.echo(f"the light flickers for {seconds:.0f} s")
