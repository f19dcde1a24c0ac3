"""Which of the samples that are heard belong to a stretch in which somebody speaks.

Invariants
    V1  A stretch begins ``pre_roll`` before the sample at which its voice was found, to the sample, or with the first
        sample that was heard; it ends ``hang`` after the last frame that held a voice, to the sample.
    V2  Two stretches whose pre-roll and hang meet are one: so a stretch is kept open for one more pre-roll behind its
        end, while nothing is written.
    V3  Each sample that was heard is handed on once or counted as not wanted: written + not wanted + held = heard.
        Each that was lost is handed on as missing, or told of by a ``Missed``.
    V4  No more than ``pre_roll``, ``BATCH_SECONDS`` and a few blocks are held in memory.
    V5  What is heard is judged a second at a time: a network that runs eight times a second finds its weights out of
        the processor's caches each time, and takes half as long again. All counts by samples, so nothing but the moment
        at which a stretch is begun or ended depends on it.
"""

from collections import deque
from typing import Final, NamedTuple

from agent.audio.detection.detector import FrameFeed
from agent.audio.pcm import WIDTH, clipped
from agent.recording.listener import HeardBlock

BATCH_SECONDS: Final = 0.96


class Begin(NamedTuple):
    """A stretch begins with the next ``Write``."""

    begins_at: float
    """In seconds of the boot clock."""


class Write(NamedTuple):
    """Samples of the stretch."""

    heard: HeardBlock


class End(NamedTuple):
    """The stretch is over: what comes next belongs to another one."""


class Missed(NamedTuple):
    """Samples were lost that belong to no stretch."""

    begins_at: float
    """In seconds of the boot clock."""
    samples: int
    """Per channel."""


Event = Begin | Write | End | Missed


class _Held(NamedTuple):
    """A block in memory, and the number of its first sample."""

    position: int
    heard: HeardBlock


class VoiceGate:
    """Takes all that is heard, in order, and hands on what belongs to a stretch; not thread-safe.

    ``pre_roll`` and ``hang`` are in seconds.
    """

    def __init__(
        self, feed: FrameFeed, sample_rate: int, channels: int, *, pre_roll: float, hang: float
    ) -> None:
        self._feed = feed
        self._rate = sample_rate
        self._width = WIDTH * channels
        self._pre_roll = round(pre_roll * sample_rate)
        self._hang = round(hang * sample_rate)
        self._position = 0
        """How many samples, per channel, were heard or lost until now."""
        self._batch = round(BATCH_SECONDS * sample_rate) * self._width
        self._unjudged = b""
        """The newest samples, which the detector has not been given yet."""
        self._feed_began = 0
        self._held: deque[_Held] = deque()
        self._is_open = False
        self._ends_at = 0
        """Behind which sample the open stretch ends as things stand."""
        self._written_to = 0
        self._heard = self._written = 0

    @property
    def is_open(self) -> bool:
        """Whether a stretch is open: somebody speaks, or has just done so."""
        return self._is_open

    @property
    def not_wanted(self) -> int:
        """Samples, per channel, that were heard and belong to no stretch; those that still may are not counted."""
        return (
            self._heard
            - self._written
            - sum(self._count(held) for held in self._held)
            + self._written_of_held()
        )

    def take(self, heard: HeardBlock) -> list[Event]:
        """Take the next block; return what is to be done, in order."""
        events: list[Event] = []
        if heard.missing:
            self._judge(events)
            self._position += heard.missing
            self._feed.reset()
            self._feed_began = self._position
        self._held.append(_Held(self._position, heard))
        self._heard += len(heard.block.samples) // self._width
        self._position += len(heard.block.samples) // self._width
        self._unjudged += heard.block.samples
        if len(self._unjudged) >= self._batch:
            self._judge(events)
        self._hand_on(events)
        self._forget(events)
        return events

    def _judge(self, events: list[Event]) -> None:
        """Let the detector judge what is waiting for it; a stretch begins, goes on or ends by that."""
        samples, self._unjudged = self._unjudged, b""
        for verdict in self._feed.feed(samples):
            at = self._feed_began + verdict.ends_at
            if self._is_open and at > self._ends_at + self._pre_roll:
                self._close(events)
            if self._is_open and at <= self._ends_at:
                if verdict.is_voice:
                    self._ends_at = at + self._hang
            elif verdict.is_triggered:
                self._trigger(at, events)

    def reset(self) -> list[Event]:
        """End the open stretch and forget what is held: the sound is interrupted (muted, no microphone)."""
        events: list[Event] = []
        self._judge(events)
        if self._is_open:
            self._close(events)
        self._let_go(len(self._held), events)
        self._feed.reset()
        self._feed_began = self._written_to = self._position
        return events

    def _trigger(self, at: int, events: list[Event]) -> None:
        if not self._is_open:
            self._is_open = True
            self._written_to = max(self._written_to, at - self._pre_roll)
            events.append(Begin(self._moment(self._written_to)))
        self._ends_at = at + self._hang

    def _moment(self, position: int) -> float:
        """Return when a sample was captured, or the first one in memory behind it."""
        held = next(held for held in self._held if held.position + self._count(held) > position)
        return held.heard.begins_at + max(0, position - held.position) / self._rate

    def _hand_on(self, events: list[Event]) -> None:
        """Write what is held up to the end of the stretch."""
        if not self._is_open:
            return
        for number, (position, heard) in enumerate(self._held):
            begin = max(self._written_to - position, 0)
            end = min(self._ends_at - position, len(heard.block.samples) // self._width)
            if end > begin:
                # Lost samples before the block belong to the stretch only when it has begun before them.
                is_inside = begin == 0 and position - heard.missing >= self._written_to
                events.append(
                    Write(self._piece(heard, begin, end, missing=heard.missing if is_inside else 0))
                )
                if is_inside and heard.missing:
                    self._held[number] = _Held(position, heard._replace(missing=0))
                self._written_to = position + end
                self._written += end - begin

    def _piece(self, heard: HeardBlock, begin: int, end: int, *, missing: int) -> HeardBlock:
        count = len(heard.block.samples) // self._width
        if (begin, end, missing) == (0, count, heard.missing):
            return heard
        samples = heard.block.samples[begin * self._width : end * self._width]
        at_limit = clipped(samples) if heard.clipped else 0
        captured_at = heard.block.captured_at - (count - end) / self._rate
        block = heard.block._replace(samples=samples, captured_at=captured_at)
        return HeardBlock(block, missing, at_limit, heard.begins_at + begin / self._rate)

    def _close(self, events: list[Event]) -> None:
        self._hand_on(events)
        events.append(End())
        self._is_open = False

    def _forget(self, events: list[Event]) -> None:
        """Let go of what is written, or too old to be the pre-roll of anything."""
        judged = self._position - len(self._unjudged) // self._width
        oldest = self._written_to if self._is_open else judged - self._pre_roll
        old = 0
        for held in self._held:
            if held.position + self._count(held) > oldest:
                break
            old += 1
        self._let_go(old, events)

    def _let_go(self, count: int, events: list[Event]) -> None:
        for _ in range(count):
            heard = self._held.popleft().heard
            if heard.missing:
                events.append(Missed(heard.begins_at - heard.missing / self._rate, heard.missing))

    def _count(self, held: _Held) -> int:
        return len(held.heard.block.samples) // self._width

    def _written_of_held(self) -> int:
        """Return how many of the samples in memory were handed on: those before the newest that was."""
        return sum(min(max(self._written_to - held.position, 0), self._count(held)) for held in self._held)
