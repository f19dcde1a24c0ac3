"""What the demo records: a microphone that gives sound, else a voice, else tones, played in real time."""

import array
import itertools
import math
import shutil
import subprocess
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agent.audio.opus import SAMPLE_RATES
from agent.audio.source import SourceLost
from agent.capture.devices import DEFAULT, list_devices
from agent.capture.microphone import Microphone
from agent.capture.process import CaptureSettings
from agent.clock import SystemClock
from agent.errors import AgentError, MicrophoneError
from agent.host.sound_cards import SoundCards

OPEN_SECONDS = 4.0
"""How long a microphone is waited for before another sound is taken."""
SPEAK_SECONDS = 20.0
ALSA_SOUNDS = Path("/usr/share/sounds/alsa")
TEXT = (
    "This is the demonstration of the recorder agent. What you hear is recorded in real time, encoded as "
    "Opus, kept in a queue on the disk, and delivered to a recordings interface on this machine."
)

_RATE = 16_000
_BLOCKS = 15
_PAUSE_SECONDS = 0.3
_TONE_SECONDS = 10
_LOWEST_HZ, _HIGHEST_HZ = 200.0, 3200.0


class Sound(NamedTuple):
    """Something that can be recorded."""

    input: str
    """A value of ``audio.input``."""
    what: str
    """A sentence about it for a person."""


def choose(folder: Path, runtime: Path) -> Sound:
    """Return the first microphone that gives sound, else a WAV file that is made in ``folder``."""
    try:
        found = microphone(runtime)
    except MicrophoneError as error:
        return instead(folder, f"no microphone can be used ({error})")
    return found or instead(folder, "there is no microphone here")


def microphone(runtime: Path) -> Sound | None:
    """Return the microphone that gives sound, ALSA's default first; None when there is none.

    Raises:
        MicrophoneError: there is one, and it cannot be heard; says why. Or libportaudio2 is missing.
    """
    cards = SoundCards()
    hardware = [card.stable_id for card in cards.capturing()]
    names = [device.id for device in list_devices(cards) if device.id == DEFAULT] + hardware
    reasons = []
    for name in names:
        capture = Microphone(name, CaptureSettings(_RATE, 1, "mix", runtime), cards, SystemClock())
        try:
            if _is_heard(capture, even_silence=bool(hardware)):
                return Sound(name, f"the microphone {capture.name} is recorded: say something")
            reasons.append(MicrophoneError(f"{capture.name} gives no sound", "check its plug"))
        except (SourceLost, MicrophoneError) as error:
            reasons.append(error)
        finally:
            capture.close()
    if hardware:
        raise reasons[-1]
    return None


def _is_heard(capture: Microphone, *, even_silence: bool) -> bool:
    """Whether blocks come; a default without a sound card may be a sound server that has nothing but zeros.

    Raises:
        SourceLost: it cannot be opened.
    """
    for _ in range(_BLOCKS):
        block = capture.read(OPEN_SECONDS)
        if block is None:
            return False
        if even_silence or any(block.samples):
            return True
    return False


def instead(folder: Path, why: str, voices: Path = ALSA_SOUNDS) -> Sound:
    """Return a voice or tones as a WAV file that is played again and again."""
    path = folder / "sound.wav"
    if spoken(path):
        what = "the computer speaks (espeak-ng), in real time"
    elif joined(path, voices):
        what = "a recorded voice is played, in real time"
    else:
        tones(path)
        what = "tones are played, in real time"
    return Sound(f"file:{path}?loop", f"{why}, so {what}")


def spoken(path: Path) -> bool:
    """Let espeak-ng write the text; False where it is not installed or cannot."""
    program = shutil.which("espeak-ng")
    if program is None:
        return False
    raw = path.with_suffix(".espeak")
    try:
        subprocess.run(
            [program, "-w", str(raw), TEXT],
            check=True,
            timeout=SPEAK_SECONDS,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        rate, samples = _read(raw)
    except (OSError, subprocess.SubprocessError, wave.Error, EOFError, AgentError):
        return False  # there is other sound
    finally:
        raw.unlink(missing_ok=True)
    _write(path, *_suitable(rate, samples))
    return True


def joined(path: Path, folder: Path) -> bool:
    """Join the voice that comes with alsa-utils; False where it is not installed."""
    files = sorted(file for file in folder.glob("*.wav") if file.name != "Noise.wav")
    sound, used = array.array("h"), 0
    for file in files:
        try:
            rate, samples = _read(file)
        except (OSError, wave.Error, EOFError, AgentError):
            continue
        if rate not in SAMPLE_RATES or used not in {0, rate}:
            continue
        used = rate
        sound.extend(samples)
        sound.extend(itertools.repeat(0, round(rate * _PAUSE_SECONDS)))
    if sound:
        _write(path, used, sound)
    return bool(sound)


def tones(path: Path) -> None:
    """Write a tone that rises and falls, with pauses, so that the level has something to show."""
    _write(path, _RATE, array.array("h", _sweep()))


def _sweep() -> Iterator[int]:
    phase = 0.0
    for index in range(_RATE * _TONE_SECONDS):
        seconds = index / _RATE
        height = 0.5 - 0.5 * math.cos(2 * math.pi * seconds / _TONE_SECONDS)
        phase += 2 * math.pi * _LOWEST_HZ * (_HIGHEST_HZ / _LOWEST_HZ) ** height / _RATE
        loudness = max(0.0, math.sin(2 * math.pi * seconds))
        yield round(10_000 * loudness * math.sin(phase))


def _read(path: Path) -> "tuple[int, array.array[int]]":
    """Return rate and samples of a mono file; AgentError for anything else."""
    with wave.open(str(path), "rb") as file:
        if (file.getnchannels(), file.getsampwidth()) != (1, 2):
            raise AgentError(f"{path} is not 16-bit mono", "name another file")
        return file.getframerate(), array.array("h", file.readframes(file.getnframes()))


def _suitable(rate: int, samples: "array.array[int]") -> "tuple[int, array.array[int]]":
    """Return the sound at a rate that Opus takes, interpolated upwards."""
    wanted = min((known for known in SAMPLE_RATES if known >= rate), default=max(SAMPLE_RATES))
    if wanted == rate:
        return rate, samples
    step = rate / wanted
    result = array.array("h")
    for index in range(int((len(samples) - 1) / step)):
        before = int(index * step)
        share = index * step - before
        result.append(round(samples[before] * (1 - share) + samples[before + 1] * share))
    return wanted, result


def _write(path: Path, rate: int, samples: "array.array[int]") -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
