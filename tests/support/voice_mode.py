"""A recorder in voice mode, with a detector that hears a voice where it is loud."""

from array import array
from collections.abc import Callable
from pathlib import Path

import msgspec
from recording_setup import RecordingSetup
from simulated import RATE, Script, ScriptedSource

from agent.audio.detection.detector import SPEECH_FRAME, FrameFeed
from agent.config.schema import RecordingConfig
from agent.recording.listening.standby import StandbySettings
from agent.recording.listening.voice import VoiceGate
from agent.recording.recorder import Recorder

PRE_ROLL, HANG = 2, 3
VOICE, HUSH = 3000, 30
"""Levels of the scripted source that the scripted detector takes for a voice, and for none."""

Steps = Callable[[ScriptedSource, Recorder], Script]


class Loud:
    """Hears a voice where it is loud."""

    frame_samples = SPEECH_FRAME
    needed, window = 4, 6

    def judge(self, frame: bytes) -> bool:
        """Tell by the peak."""
        return max(array("h", frame)) > 1000

    def reset(self) -> None:
        """Nothing is remembered."""


def gate() -> VoiceGate:
    """Return a gate with the scripted detector."""
    return VoiceGate(FrameFeed(Loud(), RATE, 1), RATE, 1, pre_roll=PRE_ROLL, hang=HANG)


def voice_setup(folder: Path, **settings: object) -> RecordingSetup:
    """Return a setup that records voices."""
    return RecordingSetup(
        folder,
        msgspec.structs.replace(RecordingConfig(mode="voice"), **settings),
        standby=StandbySettings(gate),
    )


def not_wanted(setup: RecordingSetup) -> float:
    """Return the seconds that were heard and belong to no recording."""
    return setup.recorder._standby.watch.not_wanted / RATE


def ending(steps: Steps) -> Steps:
    """Stop behind the last step."""

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from steps(source, recorder)
        recorder.stop()
        yield None

    return script
