"""The sign of life, in a thread of its own: what the device is doing, every so often, and what the API wants of it.

Rhythm    The interval of the settings with jitter, slower while the fleet's limit is short (``stretch``), all on
          the monotonic clock. As soon as something a command caused can be seen, one is sent at once.
Failures  Offline, or a token that is refused: delivery tries that anyway, so a heartbeat leaves it to delivery
          and tries only where delivery has nothing to try. 429: the pause is everybody's. Anything else: the
          next one comes when it is due. No heartbeat counts as a try of a recording.
Answers   Its body never makes a heartbeat fail: what is not understood is ignored.
"""

import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any, Protocol

from agent.api.errors import Aborted, Busy, Offline, RateLimited, RequestRejected
from agent.clock import Clock
from agent.errors import AgentError, CredentialError
from agent.log import get_logger
from agent.status.board import Board, CredentialState
from agent.sync.conclusions import Rest
from agent.sync.remote.commands import Commands

log = get_logger(__name__)

LOOK_SECONDS = 5.0
"""How often it looks whether the token has changed or a rest was ended by others."""
SOON_SECONDS = 0.25
"""How often it looks whether what a command caused has happened."""
GRACE_SECONDS = 15.0
"""How long delivery has to try first, when a rest is over that no call got through."""
TRYING_SECONDS = 1.0
"""How often it looks whether a try of delivery has ended."""
FIRST_SECONDS = 10.0
"""Within so long after the start the first is sent; a fleet that was switched on at once does not begin at once."""
LONGEST_SECONDS = 840.0
"""A device counts as online for 15 minutes after its last one: a slowed one comes a minute earlier, jitter included."""
_MOST_DOUBLINGS = 10

Send = Callable[[Mapping[str, Any], bool], Mapping[str, Any]]
"""Sends a body, urgent or not, and returns the answer's; raises ``ApiFailure`` and CredentialError."""


class Reach(Protocol):
    """What is known of the API beyond one call, and shared with delivery (``Conclusions``)."""

    rest: Rest | None

    def call_answered(self) -> None:
        """Take note of an answer."""

    def call_failed(self, error: AgentError) -> None:
        """Draw the conclusion from a failure."""


class Gate(Protocol):
    """What learns the time from answers (``ClockGate``)."""

    def learn(self) -> None:
        """Take over the time of the newest answer."""

    def offline(self) -> None:
        """Take note that there was none."""


class Rhythm(Protocol):
    """How long until the next heartbeat, in seconds and with jitter (``Stretch``)."""

    def after_success(self) -> float:
        """Return the wait after one that was taken, or that met nobody."""

    def after_refusal(self, left: float) -> float:
        """Return the wait after one that met a pause with ``left`` seconds to go."""


class Heartbeat:
    """Sends them until ``stopping`` is set.

    ``pause_left`` gives the seconds of a pause that the API asked for; ``delivering`` says that delivery is at work;
    ``overheard`` has answers to heartbeats that others sent: a command is handed out once, to whoever asks.
    ``run`` raises sqlite3.Error as the index gives it.
    """

    def __init__(
        self,
        send: Send,
        body: Callable[[], Mapping[str, Any]],
        commands: Commands,
        reach: Reach,
        board: Board,
        clock: Clock,
        *,
        rhythm: Rhythm,
        first_after: float = FIRST_SECONDS,
        pause_left: Callable[[], float] = lambda: 0.0,
        delivering: Callable[[], bool] = lambda: False,
        token_changed: Callable[[], bool] = lambda: False,
        gate: Gate | None = None,
        overheard: SimpleQueue[Mapping[str, Any]] | None = None,
    ) -> None:
        self._send = send
        self._body = body
        self._commands = commands
        self._reach = reach
        self._board = board
        self._clock = clock
        self._rhythm = rhythm
        self._pause_left = pause_left
        self._delivering = delivering
        self._token_changed = token_changed
        self._gate = gate
        self._overheard = overheard or SimpleQueue()
        self._wake = threading.Event()
        self._due = clock.monotonic() + first_after
        self._urgent = False
        self._not_taken = 0
        self._paused = self._new_token = False
        token_changed()  # the one that is there now is not new

    def run(self, stopping: threading.Event) -> None:
        """Send heartbeats until ``stopping`` is set; ``wake`` makes it notice at once."""
        while not stopping.is_set():
            self._wake.clear()
            while not self._overheard.empty():
                self._commands.take(self._overheard.get())
            self._urgent |= self._commands.took_effect()
            wait = self._seconds_left()
            if wait <= 0:
                self.beat()
            elif not stopping.is_set():
                longest = SOON_SECONDS if self._commands.awaits_effects else LOOK_SECONDS
                self._clock.wait(self._wake, min(wait, longest))

    def wake(self) -> None:
        """Let ``run`` look at once."""
        self._wake.set()

    def network_is_back(self, *, something_waits: bool) -> None:
        """Try soon when offline; at once when delivery has nothing that it would try."""
        if self._board.snapshot.online is False:
            grace = GRACE_SECONDS if something_waits else 0.0
            self._due = min(self._due, self._clock.monotonic() + grace)
            self._wake.set()

    def beat(self) -> None:
        """Send one now, and obey the commands of its answer."""
        urgent, self._urgent = self._urgent, False
        self._new_token = False
        try:
            answer = self._send(self._body(), urgent)
        except Aborted:
            self._due = self._clock.monotonic() + LOOK_SECONDS
            return
        except AgentError as error:
            self._urgent = urgent and isinstance(error, Offline | CredentialError)
            self._failed(error)
            return
        self._due = self._clock.monotonic() + self._rhythm.after_success()
        if self._not_taken:
            log.info("heartbeats are taken again", action="heartbeat_taken", missed=self._not_taken)
        self._not_taken = 0
        self._reach.call_answered()
        if self._gate is not None:
            self._gate.learn()
        self._commands.take(answer)

    def _failed(self, error: AgentError) -> None:
        if self._gate is not None and isinstance(error, Offline):
            self._gate.offline()
        if isinstance(error, RateLimited):
            wait = self._rhythm.after_refusal(error.retry_after or 0.0)
            self._paused = True
        else:
            wait = self._rhythm.after_success()
            if isinstance(error, Busy | RequestRejected):
                wait = self._wait_longer(wait, error)
        self._due = self._clock.monotonic() + wait
        self._reach.call_failed(error)

    def _wait_longer(self, wait: float, error: Busy | RequestRejected) -> float:
        """Return twice the wait for each heartbeat in a row that was not taken, and what the API asks for at least."""
        level = log.debug if self._not_taken else log.warning
        level("a heartbeat was not taken", action="heartbeat_refused", reason=str(error))
        longest = max(wait, LONGEST_SECONDS)
        wait = min(wait * 2.0 ** min(self._not_taken, _MOST_DOUBLINGS), longest)
        self._not_taken += 1
        return max(wait, (error.retry_after or 0.0) if isinstance(error, Busy) else 0.0)

    def _seconds_left(self) -> float:
        """Return the seconds until the next may be sent, as far as is known now."""
        due = 0.0 if self._urgent else self._due - self._clock.monotonic()
        refused = self._board.snapshot.credential in {CredentialState.REFUSED, CredentialState.MISSING}
        self._new_token |= self._token_changed()
        if not (refused and self._new_token):
            wait = max(due, self._left_to_delivery(refused=refused))
            if wait > 0:
                return wait
        return self._left_of_pause()

    def _left_of_pause(self) -> float:
        """Return what is left of a pause; behind it heartbeats spread out, and recordings go first."""
        left = self._pause_left()
        if left > 0 and not self._paused:
            self._due = max(self._due, self._clock.monotonic() + self._rhythm.after_refusal(left))
        self._paused = left > 0
        return left

    def _left_to_delivery(self, *, refused: bool) -> float:
        """Return for how long at least delivery is to try what heartbeat and delivery would both fail at."""
        rest = self._reach.rest
        if rest is not None and rest.ends_when_answered:
            return rest.until + GRACE_SECONDS - self._clock.monotonic()
        gets_through = self._board.snapshot.online is not False and not refused
        return TRYING_SECONDS if not gets_through and self._delivering() else 0.0
