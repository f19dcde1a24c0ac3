"""The ALSA configuration of the capture process: a ``plug`` over one card, so that any card serves any setting."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from agent.errors import MicrophoneError
from agent.host.sound_cards import Card

Channel = Literal["left", "right", "mix"] | int
"""What becomes the one channel; a number is an input of the card, from 1."""

PCM = "recorder_agent"
"""The card with one channel picked or mixed out of two or more, or just the card when nothing is to pick."""
PLAIN_PCM = "recorder_agent_plain"
"""The card with its channels as they are: the second choice, when PCM asks for more channels than it has."""

# ALSA takes the first that is installed; "linear", built in, aliases.
CONVERTERS = ("speexrate_medium", "speexrate", "samplerate_medium", "samplerate", "lavrate", "linear")
# PortAudio 19.6 aborts when every PCM of a configuration can be opened and none is called "default".
_GUARD = "pcm.recorder_agent_never { type asym }"
_WEIGHTS: dict[str | int, tuple[float, float]] = {"left": (1, 0), "right": (0, 1), "mix": (0.5, 0.5)}


def write_config(
    directory: Path, card: Card, *, channels: int, channel: Channel, environment: Mapping[str, str]
) -> Path:
    """Write the configuration for one card and return its path, the value for ALSA_CONFIG_PATH.

    Raises:
        MicrophoneError: the folder's path has a space or a colon, or cannot be written to.
    """
    path = directory / "asound.conf"
    if isinstance(channel, int) and card.channels is not None and channel > card.channels:
        raise MicrophoneError(
            f"audio.channel is {channel}, and {card.name} has {card.channels} inputs",
            "set it to one of those",
        )
    if re.search(r"[\s:]", str(path)):
        raise MicrophoneError(
            f"ALSA cannot read a configuration in {directory}, because its path has a space or a colon",
            "set XDG_RUNTIME_DIR to a folder of yours whose path has neither",
        )
    text = render(card, channels=channels, channel=channel, environment=environment)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise MicrophoneError(
            f"The ALSA configuration {path} cannot be written ({error.strerror})", "make its folder writable"
        ) from error
    return path


def render(card: Card, *, channels: int, channel: Channel, environment: Mapping[str, str]) -> str:
    """Return the configuration's text.

    It has what this card needs and nothing else: PortAudio opens every PCM of a configuration, and those of the
    system's load FFmpeg, x265, JACK and PulseAudio (18 MB, half a second). ALSA_CONFIG_PATH in ``environment`` is a
    person's choice: its files are included, and name the card.
    """
    files = [f"<{name}>" for name in _split(environment.get("ALSA_CONFIG_PATH", ""))]
    device = card.capture_device or 0
    pcm = f'{{ type hw card "{card.card_id}" device {device} }}'
    if files:
        pcm = f'"hw:CARD={card.card_id},DEV={device}"'
    lines = files
    table = _table(channel) if _picks(card, channels, channel) else ""
    count = _count(card, channels, channel)
    lines += [_GUARD, _capture(PLAIN_PCM, pcm), _capture(PCM, pcm, count, table)]
    return "\n".join(lines) + "\n"


def absolute(config_path: str) -> str:
    """Return a value of ALSA_CONFIG_PATH that means the same files in every folder."""
    return ":".join(str(Path(name).absolute()) for name in _split(config_path))


def _split(config_path: str) -> list[str]:
    return [name for name in re.split(r"[: ]+", config_path) if name]


def _table(channel: Channel) -> str:
    """Return the route from the card's channels to the one."""
    if isinstance(channel, int):
        return f"ttable.0 {{ {channel - 1} 1 }}"
    left, right = _WEIGHTS[channel]
    return f"ttable.0 {{ 0 {left} 1 {right} }}"


def _picks(card: Card, channels: int, channel: Channel) -> bool:
    """Whether one channel is made of two: left and right if there are two, mix unless the card does mono."""
    counts = card.channel_counts or (2,)
    if isinstance(channel, int):
        return True
    return channels == 1 and max(counts) > 1 and not (channel == "mix" and 1 in counts)


def _count(card: Card, channels: int, channel: Channel) -> int | None:
    """Return how many channels the card is opened with, or None: ALSA chooses."""
    counts = card.channel_counts or (2,)
    if isinstance(channel, int):
        return min((count for count in counts if count >= channel), default=channel)
    if _picks(card, channels, channel):
        return min(count for count in counts if count > 1)
    return channels if channels in counts else None


def _capture(name: str, pcm: str, count: int | None = None, table: str = "") -> str:
    """Return one PCM; ``asym`` without a playback side keeps PortAudio from trying the loudspeaker."""
    channels = f" channels {count}" if count else ""
    slave = f"slave {{ pcm {pcm}{channels} }}"
    converters = " ".join(f'"{converter}"' for converter in CONVERTERS)
    plug = f"type plug {slave} {table} rate_converter [ {converters} ]"
    return f"pcm.{name} {{ type asym capture.pcm {{ {plug} }} }}"
