"""What every call to the API passes, whoever makes it (PUTs to storage do not, but their 429s count).

Pause   A 429 stops all calls until the time the server asked for and a little longer, drawn at random so that a
        fleet does not come back as one. The pause is durable: neither a restart nor a person gets past it.
TokenBucket  ``sync.calls_per_minute`` of our own (heartbeats after a command may overdraw it), and the 30 upload URLs
        a minute of api.md section 2.
Pace    Recordings begin no faster than a fair share of what the project's limit has left (``pacing``).
"""

import sqlite3
import threading

from agent import bounds
from agent.api.errors import AGAIN, Aborted, RateLimited
from agent.api.headers import RateLimit
from agent.clock import Instant
from agent.environment import Environment
from agent.index.table.store import Store
from agent.log import get_logger
from agent.status.board import Waiting
from agent.sync.pacing.backoff import Backoff
from agent.sync.pacing.deadlines import Deadlines
from agent.sync.pacing.overload import FleetOverload
from agent.sync.pacing.share import Share
from agent.sync.pacing.token_bucket import TokenBucket

log = get_logger(__name__)

CALLS_PER_RECORDING = 3
"""Create, upload URL, complete."""
UPLOAD_URLS_PER_MINUTE = 30
UPLOAD_URL = "upload URL request"
"""The call that counts against a limit of its own."""
HEARTBEAT = "heartbeat"
HEARTBEATS_KEEP = 0.05
"""The part of the limit that recordings leave to heartbeats."""
TOO_MANY_REQUESTS = 429
PAUSE = "api"
"""Under which name the pause is kept."""
HEADROOM = 6.0
"""How many times faster than they are made recordings should be sent, before heartbeats give way."""
SPREAD_FROM = 3
"""The step of the backoff by which devices spread out after a pause: up to 8 s, more if they meet again."""


PACED = "calls are spread by what the API's limit has left"
"""The name of a wait for pacing."""
SAID_SECONDS = 2.0
POLL_SECONDS = 5.0


class Limits:
    """An ``Admission``; thread-safe. ``recording_wait`` is asked before a recording begins.

    ``recording_every`` is how many seconds apart recordings are made. A wait that somebody may wonder about is shown
    on the board.
    """

    def __init__(
        self,
        environment: Environment,
        pauses: Store,
        recording_every: float,
    ) -> None:
        clock, rng = environment.clock, environment.rng
        self._board = environment.board
        self._pauses = pauses
        self._clock = clock
        self._deadlines = Deadlines(clock, environment.boot_id)
        self._backoff = Backoff(rng=rng)
        self._lock = threading.RLock()
        self._budget = TokenBucket(environment.config.sync.calls_per_minute, clock.monotonic)
        self._url_budget = TokenBucket(UPLOAD_URLS_PER_MINUTE, clock.monotonic)
        self._share = Share(CALLS_PER_RECORDING, rng, clock.monotonic)
        self._url_share = Share(1, rng, clock.monotonic)
        self._recording_every = recording_every
        self._overload = FleetOverload(clock.monotonic)
        self._pause: Instant | None = None
        self._refusals = 0
        self.stopped = threading.Event()
        """Set by ``stop``: ends every wait."""

    def stop(self) -> None:
        """End all waits, for good; they raise ``Aborted``."""
        self.stopped.set()

    # admission

    def admit(self, call: str, *, urgent: bool = False) -> float:
        """Count a call that may be made now and return 0; else return how many seconds to wait before asking again.

        ``urgent`` calls do not wait for the budget, only for a pause.

        Raises:
            RateLimited: the API has asked for a pause.
        """
        with self._lock:
            self._check_pause()
            budgets = [self._budget, self._url_budget] if call == UPLOAD_URL else [self._budget]
            wait = 0.0 if urgent else max(self._room(call), *(budget.wait() for budget in budgets))
            if wait <= 0:
                for budget in budgets:
                    budget.take()
            return wait

    def answered(self, call: str, status: int, said: RateLimit | None, asked: float | None) -> None:
        """Learn from an answer; ``asked`` is for how many seconds it asks for a pause, None if it does not say."""
        refused = status == TOO_MANY_REQUESTS
        with self._lock:
            if said is not None:
                self._share_of(call, said).learn(said, refused=refused)
            if refused:
                self._begin_pause(asked)
            else:
                self._refusals = 0

    def _room(self, call: str) -> float:
        """Return how long to wait because an answer has said that the window is used up."""
        reserve = 0.0 if call == HEARTBEAT else HEARTBEATS_KEEP
        room = self._share.room(reserve)
        return max(room, self._url_share.room(0.0)) if call == UPLOAD_URL else room

    def _share_of(self, call: str, said: RateLimit) -> Share:
        """Return whose figures these are: an answer names whichever of its limits is tighter."""
        general = self._share.limit
        if call == UPLOAD_URL and said.limit is not None and (general is None or said.limit < general):
            return self._url_share
        return self._share

    # pauses

    def pause(self) -> Instant | None:
        """Return when the pause ends that the API asked for; None when no call has to wait for it."""
        last = max(self._pause, self._kept_pause(), key=self._left_of)
        return last if self._left_of(last) > 0 else None

    def pause_left(self) -> float:
        """Return how many seconds of the pause that the API asked for are left."""
        return self._left_of(self.pause())

    def _left_of(self, pause: Instant | None) -> float:
        return self._deadlines.remaining(pause, bounds.PAUSE_SECONDS)

    def _kept_pause(self) -> Instant | None:
        """Return the pause that a process before this one met; none while the index fails: heartbeats tell of that."""
        try:
            return self._pauses.pause(PAUSE)
        except sqlite3.Error as error:
            log.debug("an earlier pause cannot be read", action="pause_failed", error=error)
            return None

    def _check_pause(self) -> None:
        left = self.pause_left()
        if left > 0:
            raise RateLimited(
                f"The API asked for no calls for another {left:.0f} s",
                "they are made after that.",
                status=TOO_MANY_REQUESTS,
                retry_after=left,
            )

    def _begin_pause(self, asked: float | None) -> None:
        spread = self._backoff.delay(self._refusals + SPREAD_FROM)
        seconds = min(max(asked or 0.0, 0.0) + spread, bounds.PAUSE_SECONDS)
        self._refusals += 1
        if seconds <= self.pause_left():
            return
        self._pause = self._deadlines.after(seconds)
        log.warning("the API asks for a pause", action="api_rate_limited", seconds=round(seconds, 1))
        try:
            self._pauses.set_pause(PAUSE, self._pause)
        except sqlite3.Error as error:
            log.error("the pause cannot be kept over a restart", action="pause_failed", error=error)

    # pace

    def crowded(self) -> bool:
        """Whether others need so much of the limit that this device holds itself back."""
        with self._lock:
            return self._share.crowded or self._url_share.crowded

    def scarce(self) -> bool:
        """Whether recordings may not be sent ``HEADROOM`` times as fast as they are made."""
        with self._lock:
            each = max(self._share.seconds_each, self._url_share.seconds_each)
            return each * HEADROOM > self._recording_every

    def recording_wait(self) -> float:
        """Return the seconds until the next recording may begin, by what the limits have left; 0 for now."""
        with self._lock:
            return max(self._share.wait(), self._url_share.wait())

    def observe(self, waiting: int) -> bool:
        """Take note of how many recordings wait; return whether the limit is too small for the fleet."""
        with self._lock:
            self._overload.observe(waiting, scarce=self.scarce())
            return self._overload.too_small

    def recording_begins(self) -> None:
        """Say that a recording begins: the next one has to wait for its turn."""
        with self._lock:
            self._share.begun()
            self._url_share.begun()

    def end_pacing(self) -> None:
        """Forget what answers said is left of a limit, because a person wants it now; a pause stays."""
        with self._lock:
            self._share.forget()
            self._url_share.forget()

    def wait(self, seconds: float) -> None:
        """Let time pass, a few seconds at most: who waits asks again, for a person may have ended the wait.

        Raises:
            Aborted: the agent stops.
        """
        if seconds > SAID_SECONDS:
            self._board.report(waiting=Waiting(PACED, self._deadlines.after(seconds).wall_ms))
        stopped = self._clock.wait(self.stopped, min(seconds, POLL_SECONDS))
        if seconds > SAID_SECONDS:
            self._board.report(waiting=None)
        if stopped:
            raise Aborted("The call was cut short because the agent is stopping", AGAIN)
