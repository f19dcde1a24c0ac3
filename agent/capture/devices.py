"""What can be listened to: the cards the kernel knows, and the PCMs that ALSA's configuration names."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence

import msgspec

from agent.capture import protocol
from agent.capture.mixer import CaptureControl, capture_control_or_none
from agent.capture.process import run_once
from agent.errors import MicrophoneError
from agent.hints import typed
from agent.host.sound_cards import Card, SoundCards

DEFAULT = "default"
"""ALSA's own default, opened as it is."""
NO_PORTAUDIO = (
    "PortAudio cannot be loaded because libportaudio2 is missing",
    "`sudo apt-get install libportaudio2` brings it",
)
LIST_SECONDS = 5.0

# What PortAudio takes for inputs and are none: cards by number, and the converters of libasound2-plugins.
_NO_DEVICE = re.compile(
    r".*\(hw:\d+,\d+\)|surround\d+|lavrate|samplerate|speexrate|speex|upmix|vdownmix|a52|jack|oss|usbstream"
)


class Device(msgspec.Struct, frozen=True):
    """One line of ``devices``."""

    id: str
    """The stable id of a card, or the name of a PCM."""
    name: str
    default: bool
    """Whether ``input = "default"`` means this one."""
    channels: int | None
    """The most it can capture; None: nobody tells the truth about it."""
    sample_rates: list[int] | None
    """Hz; None: nobody tells the truth about them."""
    capture: CaptureControl | None = None
    """The capture control of the card's mixer; None: there is none, or it cannot be told."""


class Target(msgspec.Struct, frozen=True):
    """What one opening shall open: a card, or else a PCM by its name."""

    id: str
    name: str
    card: Card | None = None


def list_devices(
    cards: SoundCards,
    *,
    environment: Mapping[str, str] | None = None,
    python: str = sys.executable,
    timeout: float = LIST_SECONDS,
) -> list[Device]:
    """Return the cards that capture, then the named PCMs; without those when PortAudio hangs or crashes.

    Raises:
        MicrophoneError: libportaudio2 is missing, or the listing cannot be started.
    """
    capturing = cards.capturing()
    pcms = _named_pcms(environment if environment is not None else os.environ, python, timeout)
    default = DEFAULT if DEFAULT in pcms else ""
    if not default and len(capturing) == 1:
        default = capturing[0].stable_id
    return [
        Device(
            id=card.stable_id,
            name=card.name,
            default=card.stable_id == default,
            channels=card.channels,
            sample_rates=list(card.sample_rates) if card.sample_rates else None,
            capture=capture_control_or_none(card.card_id),
        )
        for card in capturing
    ] + [Device(id=pcm, name=pcm, default=pcm == default, channels=None, sample_rates=None) for pcm in pcms]


def resolve_input(wanted: str, cards: Sequence[Card]) -> list[Target]:
    """Return what to try to open for ``audio.input``, in this order; called anew at every opening.

    ``default``: ALSA's default, then the only card that captures, if there is just one. Else a card by one of
    its stable ids, then by a part of its name; what no card answers to is the name of a PCM, and the capture
    process says when there is no such PCM either.

    Raises:
        MicrophoneError: more than one card answers, or the stable id of a USB device that is not there.
    """
    capturing = [card for card in cards if card.capture]
    if wanted == DEFAULT:
        only = [_target(card) for card in capturing] if len(capturing) == 1 else []
        return [Target(DEFAULT, DEFAULT), *only]
    found = [card for card in capturing if wanted in (*card.ids, card.card_id)]
    if not found:
        found = [card for card in capturing if wanted.casefold() in card.name.casefold()]
    if len(found) > 1:
        raise MicrophoneError(
            f"More than one microphone answers to {wanted!r}",
            f"set audio.input to one of their ids: {_names(found)}",
        )
    if found:
        return [_target(found[0])]
    if wanted.startswith("usb-"):
        there = _names(capturing) or "no sound card with an input"
        raise MicrophoneError(
            f"The microphone {wanted} is not connected, there is {there}",
            f"plug it in, or set audio.input to one that {typed('devices')} shows",
        )
    return [Target(wanted, wanted)]


def _target(card: Card) -> Target:
    return Target(card.stable_id, card.name, card)


def _names(cards: Sequence[Card]) -> str:
    return ", ".join(f"{card.stable_id} ({card.name})" for card in cards)


def _named_pcms(environment: Mapping[str, str], python: str, timeout: float) -> list[str]:
    """Return the names of ALSA's inputs that are no cards.

    Raises:
        MicrophoneError: libportaudio2 is missing, or the listing cannot be started.
    """
    try:
        answer = json.loads(run_once(python, environment, "--list", timeout=timeout))
    except (subprocess.TimeoutExpired, ValueError):
        return []
    except OSError as error:
        raise MicrophoneError(
            f"Nothing can be listed because {python} does not start ({error.strerror})",
            "install the agent again",
        ) from error
    if isinstance(answer, dict):
        if answer["kind"] == protocol.NO_PORTAUDIO:
            raise MicrophoneError(*NO_PORTAUDIO)
        return []
    return [entry["name"] for entry in answer if not _NO_DEVICE.fullmatch(entry["name"])]
