"""What an answer, or the lack of one, means for the recording it concerns and for all the others."""

from collections.abc import Iterator
from dataclasses import dataclass

from agent import bounds
from agent.api.errors import (
    Aborted,
    Busy,
    InvalidResponse,
    NotSent,
    Offline,
    RateLimited,
    RequestRejected,
    StillVerifying,
    StorageUnreachable,
    Unauthorized,
)
from agent.clock import Clock
from agent.errors import AgentError, CredentialError
from agent.index.outbox import Outbox
from agent.index.schema import PAUSE_OF_RECORDING
from agent.log import get_logger
from agent.outbox.entry import Entry, Status
from agent.status.board import Board, CredentialState, Waiting
from agent.sync.pacing.backoff import Backoff, verifying_delay
from agent.sync.pacing.deadlines import Deadlines
from agent.sync.pacing.limits import PAUSE, Limits
from agent.sync.result import SyncResult
from agent.sync.rules.data_usage import DataLimitReached
from agent.sync.rules.networks import NetworkForbidden
from agent.sync.rules.owner_rules import DATA_LIMIT, TOTAL_LIMIT

log = get_logger(__name__)

PROBE_SECONDS = 900.0
"""How often a refused credential, or a server that refuses everything, is tried again."""
BUSY_IN_A_ROW = 3
"""After so many recordings met a busy server, the drain rests."""
SYSTEMIC_IN_A_ROW = 3
"""So many recordings in a row refused alike at one step are not refused for what they are."""
AFTER_VERIFYING = 8
"""The step of the backoff at which a verification of more than five minutes goes on: up to 256 s."""
OFFLINE = "offline"
"""The reason of a rest that a network which is back ends."""
PARKED_RETRY_MS = 86_400_000


@dataclass(frozen=True)
class Rest:
    """Why the drain rests, and until when on the monotonic clock."""

    reason: str
    until: float
    ends_when_answered: bool = False
    """No call gets anywhere (offline, or no token that is accepted): the first that does ends it, a heartbeat too."""


class Conclusions:
    """Draws them: parks, backs off, rests. Holds what is known of the API beyond single recordings."""

    def __init__(
        self,
        outbox: Outbox,
        board: Board,
        clock: Clock,
        *,
        deadlines: Deadlines,
        backoff: Backoff,
        limits: Limits,
    ) -> None:
        self._outbox = outbox
        self._board = board
        self._clock = clock
        self._deadlines = deadlines
        self._backoff = backoff
        self._limits = limits
        self._offline_failures = 0
        self._busy_in_a_row = 0
        self._refused_alike: list[tuple[str, int, str]] = []
        """The last recordings that were refused: step, status and local id; all of one step and status."""
        self._singled_out: set[str] = set()
        """Those of them whose refusal another delivery has shown to be their own."""
        self.rest: Rest | None = None
        self.by_rule: Waiting | None = None
        """Why the owner's rules let everything wait."""
        self._without_storage: dict[str, int] = {}
        """How many times in a row each recording could not reach its storage, by local id."""
        self.verifying: dict[str, int] = {}
        """How many answers of 425 in a row each recording has got, by local id."""

    def suspects_last(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        """Yield those that were refused alike behind all others: a good one shows that it was their own fault."""
        suspects = self.suspects
        put_off: list[Entry] = []
        for entry in entries:
            if entry.id in suspects:
                put_off.append(entry)
            else:
                yield entry
        yield from put_off

    def delivered(self, entry: Entry, report: SyncResult) -> None:
        """Take note of a delivery, or of a file that turned out to be damaged before it."""
        self.verifying.pop(entry.id, None)
        self._without_storage.pop(entry.id, None)
        if entry.status is Status.PARKED:
            report.parked.append(entry.id)
            return
        if self._outbox.store.pause(_asked(entry)) is not None:
            self._outbox.store.set_pause(_asked(entry), None)
        self._reached(accepted=True)
        self._busy_in_a_row = 0
        self._singled_out |= self.suspects
        self._refused_alike.clear()
        report.delivered.append(entry.id)
        before = self._board.snapshot
        self._board.report(
            last_delivery_ms=entry.completed_ms,
            delivered=before.delivered + 1,
            delivered_bytes=before.delivered_bytes + entry.size_bytes,
        )
        log.info(
            "delivered",
            action="recording_delivered",
            id=entry.id,
            seq=entry.seq,
            remote_id=entry.remote_id,
            size_bytes=entry.size_bytes,
            verified=entry.verified,
        )

    def failed(self, recording_id: str, error: AgentError, report: SyncResult) -> None:
        """Draw the conclusion from a failed delivery, by its class (``failures``)."""
        if isinstance(error, Offline):
            self._offline(error, report)
            return
        if isinstance(error, CredentialError):
            self._refused(error, report)
            return
        if isinstance(error, DataLimitReached):
            self.by_rule = Waiting(DATA_LIMIT if error.is_metered else TOTAL_LIMIT, error.until_ms)
        if isinstance(error, NetworkForbidden):
            self.by_rule = error.waiting
        if isinstance(error, Aborted | DataLimitReached | NetworkForbidden):
            report.stopped_by = error
            return
        if not isinstance(error, NotSent):
            self._reached(accepted=not isinstance(error, Busy))
        self._about_one(recording_id, error, report)

    def _about_one(self, recording_id: str, error: AgentError, report: SyncResult) -> None:
        """Draw the conclusion for the recording that the failure concerns."""
        entry = self._outbox.store.get(recording_id)
        if isinstance(error, RateLimited):
            self._rate_limited(error, report)
        elif entry is None:
            return
        elif isinstance(error, StillVerifying):
            self._still_verifying(entry, error)
        elif isinstance(error, RequestRejected):
            self._rejected(entry, error, report)
        elif isinstance(error, InvalidResponse):
            self._park(entry, str(error), report)
        else:
            self._busy(entry, error, report)

    @property
    def suspects(self) -> set[str]:
        """The recordings refused alike at last, by local id: tried last, for the others show whose fault it is."""
        return {recording_id for _step, _status, recording_id in self._refused_alike}

    # the API as a whole

    def call_answered(self) -> None:
        """Take note that a call that concerns no recording, a heartbeat, was answered as it should be."""
        self._online(accepted=True)
        if self.rest is not None and self.rest.ends_when_answered:
            self.rest = None
            self.show_waiting()
            self._outbox.arrived.set()

    def call_failed(self, error: AgentError) -> None:
        """Draw the conclusion from a failed call that concerns no recording, by its class (``failures``)."""
        report = SyncResult()
        if isinstance(error, Offline):
            self._offline(error, report)
        elif isinstance(error, CredentialError):
            self._refused(error, report)
        elif not isinstance(error, Aborted):
            self._online(accepted=not isinstance(error, Busy))
            self.network_is_back()
            if isinstance(error, RateLimited):
                self._rate_limited(error, report)
        self.show_waiting()

    def network_is_back(self) -> None:
        """Let what rests because it is offline be tried at once; how often it failed is not forgotten."""
        if self.rest is not None and self.rest.reason.startswith(OFFLINE):
            self.rest = None

    def _reached(self, *, accepted: bool) -> None:
        self._online(accepted=accepted)
        self.rest = None
        self._board.report(waiting=None)

    def _online(self, *, accepted: bool) -> None:
        if self._offline_failures:
            waits = self._outbox.store.counts()["pending"]
            log.info("the API answers again", action="sync_online", pending=waits)
        self._offline_failures = 0
        self._board.report(online=True)
        if accepted:
            self._board.report(credential=CredentialState.ACCEPTED)

    def _offline(self, error: Offline, report: SyncResult) -> None:
        level = log.debug if self._offline_failures else log.warning
        level("offline", action="sync_offline", kind=error.kind.value, reason=str(error))
        delay = self._backoff.delay(self._offline_failures)
        self._offline_failures += 1
        self._board.report(online=False)
        self._begin_rest(f"{OFFLINE}: {error}", delay, report, error)

    def _refused(self, error: CredentialError, report: SyncResult) -> None:
        missing = not isinstance(error, Unauthorized) or error.status is None
        state = CredentialState.MISSING if missing else CredentialState.REFUSED
        if not missing:
            self._online(accepted=False)
        level = log.debug if self._board.snapshot.credential is state else log.error
        action = "credential_missing" if missing else "credential_refused"
        level("the API is not called", action=action, reason=str(error))
        self._board.report(credential=state)
        self._begin_rest(f"device token {state.value}", PROBE_SECONDS, report, error)

    def _rate_limited(self, error: RateLimited, report: SyncResult) -> None:
        """Stop; the pause itself began with the answer (``limits``)."""
        report.stopped_by = error

    def asked_to_wait(self, entry: Entry) -> float:
        """Return for how many seconds the server asked not to be called for a recording; it survives a restart."""
        asked = self._outbox.store.pause(_asked(entry))
        left = self._deadlines.remaining(asked, bounds.PAUSE_SECONDS)
        if asked is not None and left <= 0:
            self._outbox.store.set_pause(_asked(entry), None)
        return left

    def pause_left(self) -> float:
        """Return how many seconds of the pause that the API asked for are left; it survives a restart."""
        return self._limits.pause_left()

    def _begin_rest(self, reason: str, seconds: float, report: SyncResult, error: AgentError) -> None:
        nothing_gets_through = isinstance(error, Offline | CredentialError)
        self.rest = Rest(reason, self._clock.monotonic() + seconds, nothing_gets_through)
        report.stopped_by = error

    # one recording

    def _still_verifying(self, entry: Entry, error: StillVerifying) -> None:
        answers = self.verifying.get(entry.id, 0) + 1
        delay = verifying_delay(answers)
        if delay is None:
            self.verifying.pop(entry.id, None)
            self._back_off(entry, str(error), self._backoff.delay(AFTER_VERIFYING), counts=False)
            return
        self.verifying[entry.id] = answers
        self._heed(entry, error.retry_after)
        self._back_off(entry, str(error), max(delay, error.retry_after or 0.0), counts=False)

    def _busy(self, entry: Entry, error: AgentError, report: SyncResult) -> None:
        after = error.retry_after if isinstance(error, Busy) else None
        self._heed(entry, after)
        of_storage = isinstance(error, StorageUnreachable)  # an outage, which uses up no attempts
        tries = self._without_storage.get(entry.id, 0) if of_storage else entry.attempts
        if of_storage:
            self._without_storage[entry.id] = tries + 1
        self._back_off(entry, str(error), self._backoff.delay_after(tries, after), counts=not of_storage)
        self._busy_in_a_row += 1
        if self._busy_in_a_row >= BUSY_IN_A_ROW:
            self._begin_rest("the API is busy", self._backoff.delay(self._busy_in_a_row), report, error)

    def _heed(self, entry: Entry, after: float | None) -> None:
        """Remember that the server asked not to be called before some time, which a person's wish does not shorten."""
        if after:
            self._outbox.store.set_pause(_asked(entry), self._deadlines.after(after))

    def _back_off(self, entry: Entry, reason: str, delay: float, *, counts: bool = True) -> None:
        until = self._deadlines.after(delay)
        attempts = entry.attempts + counts
        self._outbox.index(
            entry,
            "backoff",
            attempts=attempts,
            last_error=reason,
            next_attempt=until,
            next_attempt_ms=until.wall_ms,
        )
        level = log.warning if counts and attempts == 1 else log.debug
        level(
            "tried again later", action="recording_waits", id=entry.id, seconds=round(delay, 1), reason=reason
        )

    def _rejected(self, entry: Entry, error: RequestRejected, report: SyncResult) -> None:
        self._park(entry, str(error), report)
        if entry.id in self._singled_out:
            self._singled_out.discard(entry.id)
            return
        refusal = (error.step, error.status)
        others = [each for each in self._refused_alike if each[:2] == refusal and each[2] != entry.id]
        self._refused_alike = [*others, (*refusal, entry.id)][-SYSTEMIC_IN_A_ROW:]
        if len(self._refused_alike) == SYSTEMIC_IN_A_ROW:
            self._systemic(error, report)

    def _systemic(self, error: RequestRejected, report: SyncResult) -> None:
        """All are refused alike: it is not the recordings' fault, so none of them stays parked."""
        for _step, _status, recording_id in self._refused_alike:
            entry = self._outbox.store.get(recording_id)
            if entry is not None and entry.status is Status.PARKED:
                self._outbox.retry(entry)
                report.parked = [parked for parked in report.parked if parked != recording_id]
        log.error(
            "the API refuses every recording", action="sync_systemic", step=error.step, reason=str(error)
        )
        self._begin_rest(f"the API refuses every recording: {error}", PROBE_SECONDS, report, error)

    def _park(self, entry: Entry, reason: str, report: SyncResult) -> None:
        self._outbox.park(entry, reason)
        self.verifying.pop(entry.id, None)
        self._without_storage.pop(entry.id, None)
        report.parked.append(entry.id)

    def revive_parked(self) -> None:
        """Give what was refused another try once a day for a week, a few at a time."""
        for entry in self._outbox.store.parked_before(self._outbox.now_ms() - PARKED_RETRY_MS):
            self._outbox.retry(entry, tries=entry.parked_tries + 1)

    # for people

    def show_waiting(self) -> None:
        """Report why nothing is being delivered, and until when."""
        pause = self._outbox.store.pause(PAUSE)
        waiting = self.by_rule
        if self.pause_left() > 0 and pause is not None:
            waiting = Waiting("the API asked for a pause", pause.wall_ms)
        elif self.rest is not None:
            left = max(0.0, self.rest.until - self._clock.monotonic())
            waiting = Waiting(self.rest.reason, self._deadlines.after(left).wall_ms)
        self._board.report(waiting=waiting or self._of_the_oldest())

    def _of_the_oldest(self) -> Waiting | None:
        """Return why the recording that waits longest is not tried now."""
        oldest = self._outbox.store.oldest_waiting()
        if oldest is None or self._deadlines.remaining(oldest.next_attempt, bounds.ATTEMPT_SECONDS) <= 0:
            return None
        return Waiting(oldest.last_error or "it is tried again later", oldest.next_attempt_ms)


def _asked(entry: Entry) -> str:
    """Return the name under which a server's Retry-After for one recording is kept."""
    return f"{PAUSE_OF_RECORDING}{entry.id}"
