"""What is heard: blocks of the source, whether they keep up with time, how loud they are, and what the board says."""

from typing import NamedTuple

from agent.audio.level import LevelMeter, SoundNow
from agent.audio.source import Block, Source, SourceState
from agent.clock import Clock
from agent.log import get_logger
from agent.recording.quality import QUIET_DBFS, QualityJudge
from agent.status.board import Board, Quality
from agent.timing.sample_clock import SampleClock
from agent.timing.timeline import Timeline

log = get_logger(__name__)

SILENT = "silent"
"""The state of a microphone that gives nothing but zeros."""
BAD = {Quality.SILENT, Quality.QUIET, Quality.CLIPPING}


class HeardBlock(NamedTuple):
    """One block, and what has to be known to write it."""

    block: Block
    missing: int
    """Samples per channel that were lost before it."""
    clipped: int
    """Samples of it at the limit of 16 bits."""
    begins_at: float
    """When its first sample was captured by the sample clock, in seconds of the boot clock."""
    resumed: bool = False
    """Whether the machine was suspended just before it."""


class Listener:
    """Reads a source for the recorder, in the recorder's thread."""

    def __init__(self, source: Source, board: Board, clock: Clock) -> None:
        self.source = source
        self.sample_rate = source.sample_rate
        self.channels = source.channels
        self._board = board
        self._timeline = Timeline(source.sample_rate, source.channels)
        self._samples = SampleClock(clock, self._timeline, 2 * source.channels, source.sample_rate)
        self._meter = LevelMeter(source.sample_rate, source.channels)
        self._quality = QualityJudge(source.sample_rate, source.channels)
        self._shown = SourceState.CLOSED.value
        self._shown_quality: Quality | None = None
        self._said: Quality | None = None
        board.sound = self._sound

    def read(self, timeout: float) -> HeardBlock | None:
        """Return the next block, or None; raises SourceLost and EndOfSource as the source does."""
        try:
            block = self.source.read(timeout)
        finally:
            self._show()
        if block is None:
            return None
        before = self._meter.clipped_samples
        self._meter.feed(block.samples)
        clipped = self._meter.clipped_samples - before
        self._quality.take(len(block.samples) // 2, self._meter.newest, clipped, self._meter.silent_seconds)
        missing = self._timeline.missing(block)
        if missing:
            log.warning(
                "samples were lost while capturing",
                action="capture_gap",
                milliseconds=missing * 1000 // self.sample_rate,
            )
        begins_at = self._samples.begins_at(block)
        return HeardBlock(block, missing, clipped, begins_at, resumed=self._samples.resumed)

    def close(self) -> None:
        """Let go of the device."""
        self.source.close()
        self._show()

    def _sound(self) -> SoundNow | None:
        """Return how loud the newest sound is; None while nothing is heard."""
        return self._meter.now() if self.is_listening else None

    @property
    def is_listening(self) -> bool:
        """Whether blocks flow."""
        return self.source.state is SourceState.LISTENING

    @property
    def has_more(self) -> bool:
        """Whether another block lies ready."""
        return self.is_listening and self.source.has_more

    @property
    def has_slept(self) -> bool:
        """Whether the machine was suspended after what was heard last."""
        return self._samples.has_slept

    @property
    def is_missing(self) -> bool:
        """Whether a device is wanted that is not there."""
        return self.source.state in {SourceState.LOST, SourceState.WEDGED, SourceState.WAITING}

    @property
    def last_error(self) -> str | None:
        """Why nothing is heard, one sentence, where that is known."""
        return self.source.last_error or None

    def _show(self) -> None:
        if not self.is_listening:
            self._quality.reset()
        quality = self._quality.quality
        state = SILENT if quality is Quality.SILENT else self.source.state.value
        if state == self._shown and quality is self._shown_quality:
            return
        self._say(quality)
        self._shown, self._shown_quality = state, quality
        self._board.report(
            microphone_state=state,
            microphone_id=self.source.identity,
            microphone_name=self.source.name,
            microphone_quality=quality,
        )

    def _say(self, quality: Quality | None) -> None:
        """Say in the log what is new: one line for each change of what is wrong, and one when nothing is."""
        if quality is None and not (self._said is Quality.SILENT and self.is_listening):
            return
        name = self.source.name
        if quality is self._said:
            return
        if quality is Quality.SILENT:
            log.warning(
                "the microphone gives nothing but digital silence; it is recorded all the same",
                action="microphone_silent",
                microphone=name,
            )
        elif quality is Quality.QUIET:
            log.warning(
                "the microphone is too quiet, even where something stands out; raise its gain",
                action="microphone_quiet",
                below_dbfs=QUIET_DBFS,
                microphone=name,
            )
        elif quality is Quality.CLIPPING:
            log.warning(
                "the microphone clips in more than 1 % of the seconds; lower its gain",
                action="microphone_clipping",
                microphone=name,
            )
        elif self._said in BAD:
            log.info("the microphone gives sound again", action="microphone_sounds", microphone=name)
        self._said = quality
