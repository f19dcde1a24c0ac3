"""What is listened to while nothing is recorded: for a voice, or to keep the last minutes."""

from collections.abc import Callable
from typing import NamedTuple

from agent.recording.binding import is_other_owner
from agent.recording.listener import HeardBlock
from agent.recording.listening.ring import PacketRing, Prelude
from agent.recording.listening.voice import Event, VoiceGate
from agent.recording.listening.voicewatch import VoiceWatch
from agent.recording.segment_factory import SegmentFactory


class StandbySettings(NamedTuple):
    """What a recorder listens for while it records nothing."""

    gate: Callable[[], VoiceGate] | None = None
    """Makes what tells a voice from other sound; None: nothing is voice-activated."""
    keep_last_seconds: int = 0


class Standby:
    """The gate or the ring, whichever is wanted; belongs to the recorder's thread.

    What was heard under one binding of the device is forgotten under the next: it is one person's.
    """

    def __init__(
        self, settings: StandbySettings, segment_factory: SegmentFactory, sample_rate: int, channels: int
    ) -> None:
        self._settings = settings
        self._segment_factory = segment_factory
        self._format = sample_rate, channels
        self._watch: VoiceWatch | None = None
        self._ring: PacketRing | None = None
        self._owner: str | None = None
        self.for_voice = False
        """Whether it listens for a voice now."""

    @property
    def keeps(self) -> bool:
        """Whether the last minutes are to be kept."""
        return self._settings.keep_last_seconds > 0

    @property
    def watch(self) -> VoiceWatch:
        """What listens for a voice; made when it is needed first."""
        if self._watch is None:
            if self._settings.gate is None:
                raise RuntimeError("nothing was made to listen for a voice")
            self._watch = VoiceWatch(self._settings.gate(), self._segment_factory, *self._format)
        return self._watch

    def listen_for_voice(self) -> None:
        """Begin to listen for a voice."""
        if not self.for_voice:
            self._owner = self._segment_factory.binding()
            self.for_voice = bool(self.watch)

    def hear(self, heard: HeardBlock, *, is_recording: bool) -> list[Event]:
        """Listen to a block for a voice; return what is to be done, in order."""
        owner = self._segment_factory.binding()
        events: list[Event] = []
        if not is_recording and is_other_owner(self._owner, owner):
            events = self.watch.stop()
        self._owner = owner
        return [*events, *self.watch.take(heard)]

    def stop_listening(self) -> None:
        """Listen for no voice any more; what ``watch.stop`` gave is done."""
        self.for_voice = False
        self.watch.closed()

    def keep(self, heard: HeardBlock) -> None:
        """Keep a block for a recording that may be asked for."""
        if self._ring is None:
            encoder = self._segment_factory.encoder(*self._format)
            self._ring = PacketRing(encoder, *self._format, self._settings.keep_last_seconds)
        owner = self._segment_factory.binding()
        if is_other_owner(self._owner, owner):
            self._ring.clear()
        self._owner = owner
        self._ring.take(heard)

    def interrupt(self) -> None:
        """The microphone went away: what is kept stays, and silence will stand for the time until it is back."""
        if self._ring is not None:
            self._ring.interrupt()

    def release(self, asked_at: float) -> Prelude | None:
        """Give away what is kept, for a recording to begin with that was asked for at a moment of the boot clock."""
        return self._ring.release(asked_at) if self._ring is not None else None

    def forget(self) -> None:
        """Forget what is kept: a person wants nothing to be heard, or what follows does not belong to it."""
        if self._ring is not None:
            self._ring.clear()
