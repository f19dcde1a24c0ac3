"""What the recorder listens for while it records nothing, as the settings say, and with what there is for it."""

from agent.audio.detection.detector import Detector, FrameFeed, SoundDetector, speech_detector
from agent.audio.detection.resting import RestingDetector
from agent.audio.source import Source
from agent.config.schema import Config, VoiceConfig
from agent.errors import AgentError
from agent.log import get_logger
from agent.recording.listening.standby import StandbySettings
from agent.recording.listening.voice import VoiceGate
from agent.recording.triggers import wants_voice
from agent.status.board import Board

log = get_logger(__name__)


def standby_of(config: Config, board: Board, source: Source) -> StandbySettings:
    """Return what is listened for; the detector is made, and shown on the board, when it is needed first."""
    voice = config.voice

    def gate() -> VoiceGate:
        detector, trigger, problem = detector_of(voice)
        board.report(voice_trigger=trigger, voice_problem=problem)
        log.info("listening for a voice", action="voice_listening", trigger=trigger)
        return VoiceGate(
            FrameFeed(detector, source.sample_rate, source.channels),
            source.sample_rate,
            source.channels,
            pre_roll=voice.pre_roll_seconds,
            hang=voice.hang_seconds,
        )

    is_manual = config.recording.mode == "manual"
    return StandbySettings(
        gate if wants_voice(config.recording) else None,
        config.recording.keep_last_seconds if is_manual else 0,
    )


def detector_of(settings: VoiceConfig) -> tuple[Detector, str, str | None]:
    """Return the detector, the trigger it stands for, and why it is not the one that is wanted."""
    if settings.trigger == "speech":
        try:
            return RestingDetector(speech_detector(settings.sensitivity)), "speech", None
        except AgentError as error:
            log.warning(
                "any sound that stands out begins a recording", action="voice_fallback", reason=str(error)
            )
            return SoundDetector(settings.sensitivity), "sound", str(error)
    return SoundDetector(settings.sensitivity), "sound", None
