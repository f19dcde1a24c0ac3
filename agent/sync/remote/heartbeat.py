"""The sign of life, in a thread of its own: what the device is doing, every so often, and what the API wants of it.

Rhythm    The interval of the settings with jitter, slower while the fleet's limit is short, all on
          the monotonic clock. As soon as something a command caused can be seen, one is sent at once.
Failures  Offline, or a token that is refused: delivery tries that anyway, so a heartbeat leaves it to delivery
          and tries only where delivery has nothing to try. 429: the pause is everybody's. Anything else: the
          next one comes when it is due. No heartbeat counts as a try of a recording.
Answers   Its body never makes a heartbeat fail: what is not understood is ignored.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agent.api.client import RecordingsApi
from agent.api.errors import Aborted, Busy, Offline, RateLimited, RequestRejected
from agent.environment import Environment
from agent.errors import AgentError, CredentialError
from agent.log import get_logger
from agent.status.board import CredentialState
from agent.sync.connection import Connection
from agent.sync.pacing.heartbeat_interval import HeartbeatInterval
from agent.sync.remote.commands import Commands
from agent.sync.remote.payload import HeartbeatPayload

log = get_logger(__name__)

POLL_SECONDS = 5.0
"""How often it looks whether the token has changed or a wait was ended by others."""
SOON_SECONDS = 0.25
"""How often it looks whether what a command caused has happened."""
GRACE_SECONDS = 15.0
"""How long delivery has to try first, when a wait is over in which no call got through."""
TRYING_SECONDS = 1.0
"""How often it looks whether a try of delivery has ended."""
FIRST_SECONDS = 10.0
"""Within so long after the start the first is sent; a fleet that was switched on at once does not begin at once."""
LONGEST_SECONDS = 840.0
"""A device counts as online for 15 minutes after its last one: a slowed one comes a minute earlier, jitter included."""
_MOST_DOUBLINGS = 10
MOST_ANSWERS = 16
"""So many answers are kept for the heartbeat's thread; where heartbeats are off nobody ever takes them."""


class HeartbeatCalls:
    """The call itself, which delivery makes too when it has to try a token."""

    def __init__(self, api: RecordingsApi) -> None:
        self._api = api
        self._others: deque[Mapping[str, Any]] = deque(maxlen=MOST_ANSWERS)

    def send(self, body: Mapping[str, Any], *, urgent: bool) -> Mapping[str, Any]:
        """Send a heartbeat and return the answer's body; ``urgent``: without waiting for the budget.

        Raises:
            ApiFailure, CredentialError: it was not taken.
        """
        return self._api.heartbeat(body, urgent=urgent)

    def try_token(self) -> None:
        """Make a call that concerns no recording; what its answer asks for is left to the heartbeat's thread."""
        self._others.append(self._api.heartbeat({}))

    def answers_to_others(self) -> Iterator[Mapping[str, Any]]:
        """Yield the answers that ``try_token`` got: a command is handed out once, to whoever asks."""
        while self._others:
            yield self._others.popleft()


class Heartbeat:
    """Sends them until ``stopping`` is set; ``run`` raises sqlite3.Error as the index gives it."""

    def __init__(
        self,
        environment: Environment,
        calls: HeartbeatCalls,
        payload: HeartbeatPayload,
        commands: Commands,
        connection: Connection,
        token_changed: Callable[[], bool],
    ) -> None:
        self._calls = calls
        self._payload = payload
        self._commands = commands
        self._connection = connection
        self._board = environment.board
        self._clock = environment.clock
        self._interval = HeartbeatInterval(
            environment.config.heartbeat.interval_seconds,
            environment.rng,
            crowded=connection.limits.crowded,
            scarce=connection.limits.scarce,
        )
        self._token_changed = token_changed
        self._wake = threading.Event()
        self._due = self._clock.monotonic() + environment.rng.uniform(0.0, FIRST_SECONDS)
        self._urgent = False
        self._not_taken = 0
        self._paused = self._new_token = False
        token_changed()  # the one that is there now is not new

    def run(self, stopping: threading.Event) -> None:
        """Send heartbeats until ``stopping`` is set; ``wake`` makes it notice at once."""
        while not stopping.is_set():
            self._wake.clear()
            for answer in self._calls.answers_to_others():
                self._commands.take(answer)
            self._urgent |= self._commands.took_effect()
            wait = self._seconds_left()
            if wait <= 0:
                self.beat()
            elif not stopping.is_set():
                longest = SOON_SECONDS if self._commands.awaits_effects else POLL_SECONDS
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
            answer = self._calls.send(self._payload.body(), urgent=urgent)
        except Aborted:
            self._due = self._clock.monotonic() + POLL_SECONDS
            return
        except AgentError as error:
            self._urgent = urgent and isinstance(error, Offline | CredentialError)
            self._failed(error)
            return
        self._due = self._clock.monotonic() + self._interval.after_success()
        if self._not_taken:
            log.info("heartbeats are taken again", action="heartbeat_taken", missed=self._not_taken)
        self._not_taken = 0
        self._connection.heartbeat_answered()
        self._commands.take(answer)

    def _failed(self, error: AgentError) -> None:
        if isinstance(error, RateLimited):
            wait = self._interval.after_refusal(error.retry_after or 0.0)
            self._paused = True
        else:
            wait = self._interval.after_success()
            if isinstance(error, Busy | RequestRejected):
                wait = self._wait_longer(wait, error)
        self._due = self._clock.monotonic() + wait
        self._connection.heartbeat_failed(error)

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
        left = self._connection.no_call_for()
        if left > 0 and not self._paused:
            self._due = max(self._due, self._clock.monotonic() + self._interval.after_refusal(left))
        self._paused = left > 0
        return left

    def _left_to_delivery(self, *, refused: bool) -> float:
        """Return for how long at least delivery is to try what heartbeat and delivery would both fail at."""
        wait = self._connection.current_wait
        if wait is not None and wait.ends_when_answered:
            return wait.until + GRACE_SECONDS - self._clock.monotonic()
        gets_through = self._board.snapshot.online is not False and not refused
        return TRYING_SECONDS if not gets_through and self._connection.delivering.locked() else 0.0
