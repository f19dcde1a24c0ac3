"""``recorder-agent devices``: the microphones there are."""

import contextlib
from typing import Any

import click
import msgspec
from tabulate import tabulate

from agent.capture.devices import Device, list_devices
from agent.errors import AgentError, MicrophoneError
from agent.facade.context import Session
from agent.host.sound_cards import SoundCards
from agent.terminal.output import echo, print_json


def _shown(device: Device) -> dict[str, Any]:
    """Return a device as JSON has it."""
    capture = device.capture.facts if device.capture else None
    return {**msgspec.to_builtins(device), "capture": capture}


@click.command()
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a list of {id, name, default, channels, sample_rates, capture}.",
)
@click.pass_obj
def devices(session: Session, as_json: bool) -> None:
    """List the microphones; exit 69 when there is none.

    An id of this list is a stable audio.input.
    """
    with contextlib.suppress(AgentError):  # settings that are wrong hide no microphone
        session.for_reading()  # as the owner of the recordings: ALSA loads what its settings name, and not as root
    found = list_devices(SoundCards())
    if as_json:
        print_json([_shown(device) for device in found])
    elif found:
        rows = [
            (
                device.id,
                device.name,
                "default" if device.default else "",
                device.channels or "–",
                " ".join(map(str, device.sample_rates or ())) or "–",
                device.capture.words if device.capture else "none",
            )
            for device in found
        ]
        echo(
            tabulate(
                rows, headers=("id", "name", "", "channels", "rates (Hz)", "capture volume"), tablefmt="plain"
            )
        )
    if not found:
        raise MicrophoneError(
            "there is no microphone", "plug one in; `arecord -l` shows what the system knows"
        )
