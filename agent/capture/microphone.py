"""The microphone: keeps a capture process open on the device that is wanted, whatever becomes of either."""

import json

from agent.audio.source import Block, SourceLost, SourceState
from agent.capture import protocol
from agent.capture.devices import Target, resolve_input
from agent.capture.failure import CaptureFailed, explained, silent
from agent.capture.mixer import CaptureVolume
from agent.capture.mixer_reader import mixer_card
from agent.capture.process import CaptureProcess, CaptureSettings, CaptureTimes, Message, Nonsense
from agent.clock import Clock
from agent.errors import MicrophoneError
from agent.host.sound_cards import SoundCards
from agent.log import get_logger

GRACE_SECONDS = 0.5
"""However late a frame is, the capture process is waited for so long on an empty pipe before it is called wedged."""
TIMEOUT_FACTOR = 2.0
"""Each deadline that is missed makes the next one so many times longer: a slow machine misses none for ever."""
LONGEST_OPENING, LONGEST_SILENCE = 60.0, 6.0
"""Seconds: no deadline becomes longer than these."""
STEADY_SECONDS = 5.0
"""A device that listened for so long has recovered: the next loss is a new one, with a new backoff."""
GATHER_BLOCKS = 2
"""So many blocks come between two looks at a device that listens: to wake costs more than to take a block."""
FLOWING_SECONDS = 0.5
"""A device that gave sound for so long is judged by the plain deadlines again: one that freezes is noticed at once."""

log = get_logger(__name__)


class Microphone:
    """A ``Source`` that hears a sound card, or a named PCM, through a capture process.

    ``read`` and ``close`` belong to one thread, which lives as long as the microphone is wanted: the capture
    process dies when the thread that started it ends. The properties may be read from any thread. The clock's
    ``monotonic`` must be CLOCK_MONOTONIC: the capture process's frames carry its stamps.

    Procedure of one opening: resolve the input anew → for each target in turn: write the configuration when
    it is a card, start a capture process, wait for its first frame (``times.opening``). When none gives one: once
    ``SourceLost``, then again after the next of ``times.backoff``. Both time-outs are doubled by each attempt that
    hangs, up to LONGEST_OPENING and LONGEST_SILENCE, until blocks have flowed for FLOWING_SECONDS.

    A block comes each ``block_ms``, and once they flow GATHER_BLOCKS of them are taken at a time; ALSA's buffer has a
    second where the card allows it (``agent.capture.child``): so late may the capture process be before samples are
    lost.
    """

    def __init__(
        self,
        wanted: str,
        settings: CaptureSettings,
        cards: SoundCards,
        clock: Clock,
        *,
        capture_percent: int = 0,
        times: CaptureTimes = CaptureTimes(),  # noqa: B008 - immutable
    ) -> None:
        self._wanted, self._settings, self._cards = wanted, settings, cards
        self._clock, self._times = clock, times
        self._gather_seconds = GATHER_BLOCKS * settings.block_ms / 1000

        self._state = SourceState.CLOSED
        self._volume = CaptureVolume(capture_percent)
        self._identity: str | None = None
        self._name = wanted
        self._last_error: MicrophoneError | None = None
        self._blocks_lost = 0
        self._overflows = 0

        self._capture: CaptureProcess | None = None
        self._unreaped: list[CaptureProcess] = []
        self._target = Target(wanted, wanted)
        self._targets: list[Target] = []
        self._held: Block | None = None
        self._told = False
        self._failures = 0
        self._factor = 1.0
        self._attempt_at = self._retry_at = 0.0
        self._heard_at = self._first_heard_at = 0.0
        self._next_sequence = 0

    @property
    def sample_rate(self) -> int:
        """Samples per second and channel."""
        return self._settings.sample_rate

    @property
    def channels(self) -> int:
        """1 or 2."""
        return self._settings.channels

    @property
    def state(self) -> SourceState:
        """What the microphone does; after a failure it stays what failed until blocks flow again."""
        return self._state

    @property
    def identity(self) -> str | None:
        """The stable id of the device in use or lost, None before the first opening."""
        return self._identity

    @property
    def name(self) -> str:
        """The device's name for a person; what was wanted while that is unknown."""
        return self._name

    @property
    def last_error(self) -> str:
        """Why the latest attempt failed, one sentence; empty while listening."""
        return str(self._last_error or "")

    @property
    def blocks_lost(self) -> int:
        """Blocks missing between others of one opening, since this object was made."""
        return self._blocks_lost

    @property
    def overflows(self) -> int:
        """Blocks at which PortAudio said that samples were lost, since this object was made."""
        return self._overflows

    @property
    def capture_pid(self) -> int | None:
        """The process id of the capture process, or None while there is none."""
        capture = self._capture
        return capture.pid if capture else None

    @property
    def has_more(self) -> bool:
        """Whether a block lies ready; for the thread that reads."""
        return self._held is not None or (self._capture is not None and self._capture.has_message())

    def read(self, timeout: float) -> Block | None:
        """Return the next block, or None; judging a late capture process takes up to GRACE_SECONDS beyond ``timeout``.

        Raises:
            SourceLost: no device, or it went away, or it hangs; once until blocks flow again.
        """
        deadline = self._clock.monotonic() + timeout
        if self._held is not None:
            held, self._held = self._held, None
            return held
        while True:
            try:
                if self._capture is None and not self._open(deadline):
                    return None
                if self._capture is not None:
                    block, done = self._hear(self._capture, deadline)
                    if done:
                        return block
            except CaptureFailed as failure:
                self._fail(*failure.args)

    def require(self, timeout: float) -> None:
        """Wait until blocks flow; none of them is lost to a later ``read``.

        Raises:
            MicrophoneError: none came within ``timeout`` seconds; says why.
        """
        deadline = self._clock.monotonic() + timeout
        while self._held is None:
            left = deadline - self._clock.monotonic()
            if left <= 0:
                raise self._last_error or silent(self._target, "did not open")
            try:
                self._held = self.read(left)
            except SourceLost:
                continue

    def close(self) -> None:
        """Kill the capture process and forget what failed; a later ``read`` opens the device at once."""
        self._drop_capture()
        self._state = SourceState.CLOSED
        self._targets, self._held, self._last_error = [], None, None
        self._told, self._failures, self._retry_at, self._factor = False, 0, 0.0, 1.0

    def _open(self, deadline: float) -> bool:
        """Start a capture process on the next target, waiting for its time; False when that is after ``deadline``."""
        now = self._clock.monotonic()
        if not self._targets and now < self._retry_at:
            if now < deadline:
                self._clock.sleep(min(self._retry_at, deadline) - now)
            if self._clock.monotonic() < self._retry_at:
                return False
        self._unreaped = [capture for capture in self._unreaped if not capture.gone]
        if self._state is SourceState.CLOSED:
            self._state = SourceState.OPENING
        try:
            if not self._targets:
                self._attempt_at = self._clock.monotonic()
                self._targets = resolve_input(self._wanted, self._cards.present())
            self._target = self._targets.pop(0)
            self._start_capture(self._target)
        except MicrophoneError as error:
            raise CaptureFailed(SourceState.WAITING, error) from error
        except OSError as error:
            reason = MicrophoneError(
                f"The capture process does not start ({error})",
                "free some memory, or install the agent again",
            )
            raise CaptureFailed(SourceState.WAITING, reason) from error
        return True

    def _start_capture(self, target: Target) -> None:
        self._volume.apply(target.card or mixer_card(target.id, self._cards.present()), target.name)
        self._capture = self._settings.start(target.id, target.card)
        self._heard_at = self._clock.monotonic()
        self._first_heard_at = 0.0
        self._next_sequence = 0

    def _hear(self, capture: CaptureProcess, deadline: float) -> tuple[Block | None, bool]:
        """Return (block, True), (None, True) at the deadline, or (None, False): go on.

        The pipe is drained before the capture process is judged, and judged by the stamp of its last frame; it
        always has GRACE_SECONDS left, and once more when this process was stopped meanwhile: that proves nothing.
        """
        try:
            message = capture.receive()
        except Nonsense as error:
            raise CaptureFailed(self._quiet_state(), silent(self._target, "sent nonsense")) from error
        if message is not None:
            block = self._take(message)
            return block, block is not None
        if capture.ended:
            raise CaptureFailed(self._quiet_state(), silent(self._target, "went away"))
        now = self._clock.monotonic()
        judgement = self._heard_at + self._limit() - GRACE_SECONDS
        if now < judgement:
            if now >= deadline:
                return None, True
            is_steady = self._first_heard_at and self._heard_at - self._first_heard_at > FLOWING_SECONDS
            capture.wait(min(judgement, deadline) - now, self._gather_seconds if is_steady else 0)
        elif not capture.wait(GRACE_SECONDS) and self._clock.monotonic() - now < 2 * GRACE_SECONDS:
            raise self._hanging()
        return None, False

    def _limit(self) -> float:
        """Return for how many seconds the capture process may say nothing now."""
        if self._first_heard_at:
            return max(self._times.silence, min(self._times.silence * self._factor, LONGEST_SILENCE))
        return max(self._times.opening, min(self._times.opening * self._factor, LONGEST_OPENING))

    def _hanging(self) -> CaptureFailed:
        """Tell a device that hangs from one that is gone: PortAudio hangs on a card that was unplugged."""
        card = self._target.card
        if card is not None and card.ids[-1] not in {present.ids[-1] for present in self._cards.present()}:
            return CaptureFailed(SourceState.LOST, silent(self._target, "went away"))
        self._factor = min(self._factor * TIMEOUT_FACTOR, LONGEST_OPENING)
        return CaptureFailed(SourceState.WEDGED, silent(self._target, "hangs"))

    def _take(self, message: Message) -> Block | None:
        """Return the block a message carries, or None for a hello."""
        if message.kind == protocol.FRAME:
            return self._frame(message)
        facts = json.loads(message.payload)
        if message.kind == protocol.ERROR:
            raise CaptureFailed(*explained(facts["kind"], facts["message"], self._target, self._cards))
        self._heard_at = message.stamp_ns / 1e9
        self._identity = self._target.id
        self._name = self._target.name if self._target.card else facts["device"]
        return None

    def _frame(self, message: Message) -> Block:
        self._heard_at = message.stamp_ns / 1e9
        if not self._first_heard_at:
            self._first_heard_at = self._heard_at
            self._listening()
        elif self._failures and (flowed := self._heard_at - self._first_heard_at) > FLOWING_SECONDS:
            self._factor = 1.0
            self._failures = 0 if flowed > STEADY_SECONDS else self._failures
        self._blocks_lost += message.sequence - self._next_sequence
        self._next_sequence = message.sequence + 1
        overflow = bool(message.flags & protocol.OVERFLOW)
        self._overflows += overflow
        return Block(message.sequence, self._heard_at, overflow, message.payload)

    def _listening(self) -> None:
        self._state = SourceState.LISTENING
        self._told, self._last_error, self._targets = False, None, []
        log.info("the microphone is open", action="microphone_open", device=self._identity, name=self._name)

    def _fail(self, state: SourceState, problem: MicrophoneError) -> None:
        """Let go of the capture process; go to the next target, or wait for the next attempt.

        Raises:
            SourceLost: it is the first failure since blocks flowed.
        """
        was_heard = bool(self._first_heard_at) and self._capture is not None
        self._drop_capture()
        self._last_error, reason = problem, str(problem)
        if self._targets and not was_heard:
            log.debug("a device cannot be opened", action="microphone_next", reason=reason)
            return
        self._targets = []
        wait = self._times.backoff[min(self._failures, len(self._times.backoff) - 1)]
        now = self._clock.monotonic()
        start = now if was_heard else self._attempt_at
        self._retry_at = max(start + wait, now + self._times.backoff[0])
        self._state = state
        self._failures += 1
        level = log.debug if self._told else log.warning
        level("the microphone cannot be heard", action="microphone_fail", state=state.value, reason=reason)
        if not self._told:
            self._told = True
            raise SourceLost(problem.message, problem.hint)

    def _drop_capture(self) -> None:
        capture, self._capture = self._capture, None
        if capture is not None and not capture.kill():
            self._unreaped.append(capture)

    def _quiet_state(self) -> SourceState:
        return SourceState.LOST if self._first_heard_at else SourceState.WAITING
