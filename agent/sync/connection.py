"""May recordings be sent now; if not, why, and until when: the one place that knows.

The reasons, the strongest first. Delivery asks ``obstacle`` before it begins, ``obstacle_to_next`` before each
recording and ``forbidden`` before each step; status, LED and ``sync`` are shown the one answer of ``show``.

    pause    The API asked for no calls (429). Nothing gets past it, no person and no restart (``pacing/limits``).
    wait     No network, no token that is accepted, a busy API, one that refuses everything: a ``Wait`` with a
             ``Reason``. A backoff or 15 minutes end it, and before that: another token, ``sync``, a network that is
             back; where nothing gets through, the first call that does.
    owner    What the owner's rules let wait (``rules/``): each says so by ``WaitsByRule``.
    clock    When the recording was made is not known yet (``clock_wait``).
    itself   The recording that waits longest was put off alone: its own backoff, the server's verification.

Another reason of the owner is a rule in ``rules/``; another state of the API is a ``Reason`` here.
"""

import threading
from enum import Enum
from typing import NamedTuple

from agent import bounds
from agent.api.errors import Aborted, Busy, Offline, OfflineKind, RateLimited, Unauthorized
from agent.environment import Environment
from agent.errors import AgentError, CredentialError, StillWaiting
from agent.index.outbox import Outbox
from agent.log import get_logger
from agent.status.board import CredentialState, Waiting
from agent.sync.clock_wait import ClockWait
from agent.sync.pacing.backoff import Backoff
from agent.sync.pacing.deadlines import Deadlines
from agent.sync.pacing.limits import Limits
from agent.sync.rules.owner_rules import OwnerRules
from agent.sync.rules.waits_by_rule import WaitsByRule

log = get_logger(__name__)

PROBE_SECONDS = 900.0
"""How often a refused token, or an API that refuses everything, is tried again."""
ROAMING_SECONDS = 30.0
"""So long heartbeats wait at a time while a modem roams against the owner's will."""
UPLOADING_SECONDS = 30.0
"""An upload whose bytes were taken so lately shows that the network is there."""


class Reason(Enum):
    """Why delivery waits, whatever recording is next."""

    OFFLINE = "offline"
    NO_TOKEN = "device token"  # noqa: S105 - says what is missing
    BUSY = "the API is busy"
    REFUSES_ALL = "the API refuses every recording"


NOTHING_GETS_THROUGH = frozenset({Reason.OFFLINE, Reason.NO_TOKEN})
"""No call gets anywhere: the first that does ends the wait, a heartbeat too."""


class Wait(NamedTuple):
    """Why delivery waits, and until when on the monotonic clock."""

    reason: Reason
    sentence: str
    until: float

    @property
    def ends_when_answered(self) -> bool:
        """Whether the first call that gets through ends it."""
        return self.reason in NOTHING_GETS_THROUGH


AGAIN_BY_ITSELF = "it is tried again by itself"


class DeliveryWaits(StillWaiting):
    """Nothing is sent now: the last tries met an obstacle that concerns them all."""


class Connection:
    """Holds the reasons; thread-safe as far as heartbeat and delivery need it: each sets whole values."""

    def __init__(
        self,
        environment: Environment,
        outbox: Outbox,
        limits: Limits,
        owner: OwnerRules,
        clock_wait: ClockWait,
    ) -> None:
        self.limits = limits
        self.owner = owner
        self.clock_wait = clock_wait
        self.deadlines = Deadlines(environment.clock, environment.boot_id)
        self.delivering = threading.Lock()
        """Held while delivery is at work."""
        self._clock = environment.clock
        self._board = environment.board
        self._outbox = outbox
        self._backoff = Backoff(rng=environment.rng)
        self._offline_failures = 0
        self._wait: Wait | None = None
        self._upload_moved: float | None = None
        """When bytes of the upload that is under way were taken, on the monotonic clock."""
        self._noted: Waiting | None = None
        """Why recordings wait by a rule of the owner or the clock, in the drain that runs or ran last."""

    # may it be sent

    def obstacle(self) -> AgentError | None:
        """Return why no recording may be delivered now; None when delivery may begin."""
        pause = self.pause_left()
        if pause > 0:
            return RateLimited(
                f"the API asked for no calls for another {pause:.0f} s",
                "they are made after that",
                status=429,
            )
        if self._wait is not None and self._wait.until > self._clock.monotonic():
            return DeliveryWaits(self._wait.sentence, AGAIN_BY_ITSELF)
        self._wait = None
        return self.forbidden()

    def obstacle_to_next(self) -> WaitsByRule | None:
        """Return why the next recording may not begin, by those of the owner's rules that ``sync`` ignores."""
        return self.owner.times.obstacle()

    def forbidden(self) -> WaitsByRule | None:
        """Return why nothing may be sent over the connection in use."""
        return self.owner.networks.problem()

    def pause_left(self) -> float:
        """Return how many seconds of the pause that the API asked for are left; it survives a restart."""
        return self.limits.pause_left()

    def no_call_for(self) -> float:
        """Return for how many seconds not even a heartbeat may be sent."""
        roams = self.owner.networks.is_roaming_forbidden
        return max(self.pause_left(), ROAMING_SECONDS if roams else 0.0)

    def seconds_to_next(self) -> float | None:
        """Return when delivery may be worth a try again, in seconds; None when nothing is planned."""
        if (pause := self.pause_left()) > 0:
            return pause
        if self._wait is not None:
            return max(0.0, self._wait.until - self._clock.monotonic())
        again = self._outbox.store.next_ready_ms(self.deadlines.boot_id)
        return None if again is None else max(0.0, again / 1000 - self._clock.boottime())

    # what is learnt from calls

    @property
    def current_wait(self) -> Wait | None:
        """Why delivery waits; a wait that is over stays until delivery has seen it."""
        return self._wait

    def answered(self, *, accepted: bool) -> None:
        """Note that the API has answered a call; ``accepted``: and took the token."""
        if self._offline_failures:
            waits = self._outbox.store.counts()["pending"]
            log.info("the API answers again", action="sync_online", pending=waits)
        self._offline_failures = 0
        self._board.report(online=True)
        if accepted:
            self._board.report(credential=CredentialState.ACCEPTED)

    def delivery_answered(self, *, accepted: bool) -> None:
        """Note that the API has answered delivery: whatever it waited for is over."""
        self.answered(accepted=accepted)
        self.end_wait()
        self._board.report(waiting=None)

    def failed(self, error: AgentError) -> bool:
        """Begin a wait when a failure concerns every call; return whether it does."""
        if isinstance(error, Offline):
            self._offline(error)
        elif isinstance(error, CredentialError):
            self._no_token(error)
        else:
            return False
        return True

    def heartbeat_answered(self) -> None:
        """Note that a heartbeat was taken."""
        self.answered(accepted=True)
        self.clock_wait.learn()
        if self._wait is not None and self._wait.ends_when_answered:
            self.end_wait()
            self.show()
            self._outbox.arrived.set()

    def upload_moves(self) -> None:
        """Note that bytes of an upload were taken."""
        self._upload_moved = self._clock.monotonic()

    def upload_ended(self) -> None:
        """Note that none is under way."""
        self._upload_moved = None

    def heartbeat_failed(self, error: AgentError) -> None:
        """Note what a heartbeat has met; one that came too late on a line full of an upload says nothing of it."""
        if isinstance(error, Offline) and error.kind is OfflineKind.TIMEOUT and self._is_uploading:
            log.debug("a heartbeat came too late", action="heartbeat_late", reason=str(error))
            return
        if isinstance(error, Offline):
            self.clock_wait.offline()
        if not self.failed(error) and not isinstance(error, Aborted):
            self.answered(accepted=not isinstance(error, Busy))
            self.network_is_back()
        self.show()

    @property
    def _is_uploading(self) -> bool:
        moved = self._upload_moved
        return moved is not None and self._clock.monotonic() - moved <= UPLOADING_SECONDS

    def network_is_back(self) -> None:
        """Let what waits because it is offline be tried at once; how often it failed is not forgotten."""
        if self._wait is not None and self._wait.reason is Reason.OFFLINE:
            self.end_wait()

    def begin_wait(
        self, reason: Reason, sentence: str | None = None, *, seconds: float | None = None
    ) -> None:
        """Let delivery wait; unless ``seconds`` are given, until it is time to probe."""
        until = self._clock.monotonic() + (PROBE_SECONDS if seconds is None else seconds)
        self._wait = Wait(reason, sentence or reason.value, until)

    def end_wait(self) -> None:
        """Let delivery be tried at once."""
        self._wait = None

    def _offline(self, error: Offline) -> None:
        level = log.debug if self._offline_failures else log.warning
        level("offline", action="sync_offline", kind=error.kind.value, reason=str(error))
        delay = self._backoff.delay(self._offline_failures)
        self._offline_failures += 1
        self._board.report(online=False)
        self.begin_wait(Reason.OFFLINE, f"{Reason.OFFLINE.value}: {error}", seconds=delay)

    def _no_token(self, error: CredentialError) -> None:
        missing = not isinstance(error, Unauthorized) or error.status is None
        state = CredentialState.MISSING if missing else CredentialState.REFUSED
        if not missing:
            self.answered(accepted=False)
        level = log.debug if self._board.snapshot.credential is state else log.error
        action = "credential_missing" if missing else "credential_refused"
        level("the API is not called", action=action, reason=str(error))
        self._board.report(credential=state)
        self.begin_wait(Reason.NO_TOKEN, f"{Reason.NO_TOKEN.value} {state.value}")

    # for people

    def begin_drain(self) -> None:
        """Forget why recordings waited the last time."""
        self._noted = None

    def note_waiting(self, waiting: Waiting) -> None:
        """Note why recordings wait in this drain: a rule of the owner, or the clock."""
        self._noted = waiting

    def show(self) -> None:
        """Report why nothing is being delivered, and until when."""
        pause, waiting = self.limits.pause(), self._noted
        if pause is not None:
            waiting = Waiting("the API asked for a pause", pause.wall_ms)
        elif self._wait is not None:
            left = max(0.0, self._wait.until - self._clock.monotonic())
            waiting = Waiting(self._wait.sentence, self.deadlines.after(left).wall_ms)
        self._board.report(waiting=waiting or self._of_the_oldest())

    def _of_the_oldest(self) -> Waiting | None:
        """Return why the recording that waits longest is not tried now."""
        oldest = self._outbox.store.oldest_waiting()
        if oldest is None or self.deadlines.remaining(oldest.next_attempt, bounds.ATTEMPT_SECONDS) <= 0:
            return None
        return Waiting(oldest.last_error or "it is tried again later", oldest.next_attempt_ms)
