"""Why a capture process is of no use: what the microphone does then, and the sentence for a person."""

from agent.audio.source import SourceState
from agent.capture import protocol
from agent.capture.devices import DEFAULT, NO_PORTAUDIO, Target
from agent.errors import MicrophoneError
from agent.hints import typed
from agent.host.sound_cards import SoundCards


class CaptureFailed(Exception):  # noqa: N818 - carries a state, which need not be an error
    """The current capture process is of no use: (state, error)."""


def silent(target: Target, what: str) -> MicrophoneError:
    """Return the error for a device that was there and gives no sound; ``what`` it did."""
    return MicrophoneError(
        f"{_named(target.name)} {what}, so nothing is heard", "check its plug and its cable"
    )


def explained(
    kind: str, message: str, target: Target, cards: SoundCards
) -> tuple[SourceState, MicrophoneError]:
    """Return the state and the error for what a capture process said at its end."""
    if kind == protocol.NO_PORTAUDIO:
        return SourceState.WAITING, MicrophoneError(*NO_PORTAUDIO)
    if kind == protocol.STREAM_DIED:
        return SourceState.LOST, silent(target, "went away")
    name = target.name
    if (holder := cards.holder(target.card)) is not None:
        return SourceState.WAITING, MicrophoneError(
            f"{_named(name)} is busy, {holder} has it",
            "end that program, or set audio.input to another microphone",
        )
    if kind == protocol.NO_DEVICE:
        missing = "No default microphone was found" if name == DEFAULT else f"There is no microphone {name}"
        reason = MicrophoneError(f"{missing} ({message})", f"connect it, and see {typed('devices')}")
    else:
        reason = MicrophoneError(
            f"{_named(name)} cannot be opened ({message})", "see whether another program has it"
        )
    return SourceState.WAITING, reason


def _named(name: str) -> str:
    """Return the subject of a sentence on a microphone; the system's own choice has no name that anybody knows."""
    return "The microphone" if name == DEFAULT else f"The microphone {name}"
