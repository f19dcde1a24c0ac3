"""Listening for a voice: what the gate hands on, and the account of what it was listened to and not wanted."""

from agent.recording.listener import HeardBlock
from agent.recording.listening.voice import Event, Missed, VoiceGate
from agent.recording.segment_factory import SegmentFactory

NOTED_SECONDS = 60.0
"""So often ``recorder.json`` says until when it was listened: what a cut can take from the account."""
ACCOUNTED_SECONDS = 1.0


class VoiceWatch:
    """Feeds a gate; between ``stop`` and the next ``take`` nothing is listened to."""

    def __init__(
        self, gate: VoiceGate, segment_factory: SegmentFactory, sample_rate: int, channels: int
    ) -> None:
        self._gate = gate
        self._segment_factory = segment_factory
        self._bytes_per_second = 2 * channels * sample_rate
        self._rate = sample_rate
        self._heard_until: float | None = None
        """The end of the newest block, in seconds of the boot clock."""
        self._noted_at: float | None = None
        self._accounted_at = 0.0

    @property
    def not_wanted(self) -> int:
        """Samples, per channel, that were heard and belong to no recording."""
        return self._gate.not_wanted

    def take(self, heard: HeardBlock) -> list[Event]:
        """Listen to a block; return what is to be done, in order."""
        gap_tracker = self._segment_factory.gap_tracker
        if gap_tracker.is_open:
            gap_tracker.retry()
            gap_tracker.ended(self._segment_factory.begins(heard.begins_at))
            heard = heard._replace(missing=0)
        if self._noted_at is None:
            self._noted_at = heard.begins_at
        self._heard_until = heard.begins_at + len(heard.block.samples) / self._bytes_per_second
        return self._gate.take(heard)

    def begins(self, at: float) -> None:
        """A stretch begins: what was heard from there on is accounted for when it is written."""
        self._segment_factory.ended(at, self._segment_factory.begins(at))

    def missed(self, event: Missed) -> None:
        """Note samples that were lost while nothing was recorded."""
        gap_tracker = self._segment_factory.gap_tracker
        if not gap_tracker.is_open:
            gap_tracker.overflow(
                self._segment_factory.instant(event.begins_at), event.samples * 1000 // self._rate, None
            )
            gap_tracker.settle()

    def account(self) -> None:
        """Nothing is being recorded: all that was heard is accounted for, each second; durable once a minute."""
        if self._heard_until is None or self._noted_at is None:
            return
        if 0 <= self._heard_until - self._accounted_at < ACCOUNTED_SECONDS:
            return
        self._accounted_at = self._heard_until
        until = self._segment_factory.instant(self._heard_until)
        self._segment_factory.ended(self._heard_until, until)
        if self._heard_until - self._noted_at >= NOTED_SECONDS:
            self._noted_at = self._heard_until
            self._segment_factory.sink.listened(until)

    def stop(self) -> list[Event]:
        """Listen no more, and forget what is held; return what is to be done before ``closed``."""
        return self._gate.reset()

    def closed(self) -> None:
        """All is done that ``stop`` gave: note durably up to when was listened."""
        if self._heard_until is not None and not self._segment_factory.gap_tracker.is_open:
            until = self._segment_factory.instant(self._heard_until)
            self._segment_factory.ended(self._heard_until, until)
            self._segment_factory.sink.listened(until)
        self._heard_until = self._noted_at = None
