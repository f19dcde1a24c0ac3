"""What an answer, or the lack of one, means for the recording it concerns and for all the others."""

from dataclasses import dataclass

import structlog

from agent.errors import AgentError, CredentialError
from agent.outbox.entry import Entry, Status
from agent.outbox.files import is_damaged
from agent.outbox.outbox import Outbox
from agent.recording.clock import Clock
from agent.status.board import Board, CredentialState, Waiting
from agent.sync.backoff import Backoff, verifying_delay
from agent.sync.drained import Report
from agent.sync.failures import (
    Aborted,
    Busy,
    Offline,
    RateLimited,
    Refused,
    Rejected,
    StillVerifying,
    Untrusted,
)
from agent.sync.pace import Deadlines

log = structlog.get_logger()

PROBE_SECONDS = 900.0
"""How often a refused credential, or a server that refuses everything, is tried again."""
LONGEST_PAUSE = 86_400.0
"""A pause the server asked for longer than this is taken as this long."""
BUSY_IN_A_ROW = 3
"""After so many recordings met a busy server, the drain rests."""
SYSTEMIC_IN_A_ROW = 3
"""So many creates in a row refused alike are no fault of the recordings."""
AFTER_VERIFYING = 8
"""The step of the backoff at which a verification of more than five minutes goes on: up to 256 s."""
PARKED_RETRY_SECONDS = 86_400.0
PARKED_RETRIES = 7


@dataclass(frozen=True)
class Rest:
    """Why the drain rests, and until when on the monotonic clock."""

    reason: str
    until: float


class Conclusions:
    """Draws them: parks, backs off, rests. Holds what is known of the API beyond single recordings."""

    def __init__(
        self, outbox: Outbox, board: Board, clock: Clock, *, deadlines: Deadlines, backoff: Backoff
    ) -> None:
        self._outbox = outbox
        self._board = board
        self._clock = clock
        self._deadlines = deadlines
        self._backoff = backoff
        self._offline_failures = 0
        self._busy_in_a_row = 0
        self._refused_creates: list[tuple[int, str]] = []
        self.rest: Rest | None = None
        self.verifying: dict[str, int] = {}
        """How many answers of 425 in a row each recording has got, by local id."""

    def delivered(self, entry: Entry, report: Report) -> None:
        """Take note of a delivery, or of a file that turned out to be damaged before it."""
        self.verifying.pop(entry.id, None)
        if entry.status is Status.PARKED:
            report.parked.append(entry.id)
            return
        self._reached(accepted=True)
        self._busy_in_a_row = 0
        self._refused_creates.clear()
        report.delivered.append(entry.id)
        self._board.report(last_delivery_ms=entry.completed_ms)
        log.info(
            "delivered",
            action="recording_delivered",
            id=entry.id,
            seq=entry.seq,
            remote_id=entry.remote_id,
            size_bytes=entry.size_bytes,
            verified=entry.verified,
        )

    def failed(self, recording_id: str, error: AgentError, report: Report) -> None:
        """Draw the conclusion from a failed delivery, by its class (``failures``)."""
        if isinstance(error, Offline):
            self._offline(error, report)
            return
        if isinstance(error, CredentialError):
            self._refused(error, report)
            return
        if isinstance(error, Aborted):
            report.stopped_by = error
            return
        self._reached(accepted=not isinstance(error, Busy))
        entry = self._outbox.store.get(recording_id)
        if isinstance(error, RateLimited):
            self._rate_limited(error, report)
        elif entry is None:
            return
        elif isinstance(error, StillVerifying):
            self._still_verifying(entry, error)
        elif isinstance(error, Rejected):
            self._rejected(entry, error, report)
        elif isinstance(error, Untrusted):
            self._park(entry, str(error), report)
        else:
            self._busy(entry, error, report)

    # the API as a whole

    def _reached(self, *, accepted: bool) -> None:
        if self._offline_failures:
            waits = self._outbox.store.counts()["pending"]
            log.info("the API answers again", action="sync_online", pending=waits)
        self._offline_failures = 0
        self.rest = None
        self._board.report(online=True, waiting=None)
        if accepted:
            self._board.report(credential=CredentialState.ACCEPTED)

    def _offline(self, error: Offline, report: Report) -> None:
        level = log.debug if self._offline_failures else log.warning
        level("offline", action="sync_offline", kind=error.kind.value, reason=str(error))
        delay = self._backoff.delay(self._offline_failures)
        self._offline_failures += 1
        self._board.report(online=False)
        self._begin_rest("offline", delay, report, error)

    def _refused(self, error: CredentialError, report: Report) -> None:
        missing = not isinstance(error, Refused) or error.status is None
        state = CredentialState.MISSING if missing else CredentialState.REFUSED
        level = log.debug if self._board.snapshot.credential is state else log.error
        action = "credential_missing" if missing else "credential_refused"
        level("the API is not called", action=action, reason=str(error))
        self._board.report(credential=state)
        self._begin_rest(f"device token {state.value}", PROBE_SECONDS, report, error)

    def _rate_limited(self, error: RateLimited, report: Report) -> None:
        delay = min(self._backoff.delay_after(self._busy_in_a_row, error.retry_after), LONGEST_PAUSE)
        self._busy_in_a_row += 1
        self._outbox.store.set_pause("api", self._deadlines.after(delay))
        log.warning("the API asks for a pause", action="sync_rate_limited", seconds=round(delay, 1))
        report.stopped_by = error

    def pause_left(self) -> float:
        """Return how many seconds of the pause that the API asked for are left; it survives a restart."""
        return self._deadlines.remaining(self._outbox.store.pause("api"), LONGEST_PAUSE)

    def _begin_rest(self, reason: str, seconds: float, report: Report, error: AgentError) -> None:
        self.rest = Rest(reason, self._clock.monotonic() + seconds)
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
        self._back_off(entry, str(error), max(delay, error.retry_after or 0.0), counts=False)

    def _busy(self, entry: Entry, error: AgentError, report: Report) -> None:
        after = error.retry_after if isinstance(error, Busy) else None
        self._back_off(entry, str(error), self._backoff.delay_after(entry.attempts, after))
        self._busy_in_a_row += 1
        if self._busy_in_a_row >= BUSY_IN_A_ROW:
            self._begin_rest("the API is busy", self._backoff.delay(self._busy_in_a_row), report, error)

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

    def _rejected(self, entry: Entry, error: Rejected, report: Report) -> None:
        self._park(entry, str(error), report)
        if entry.remote_id is not None:
            return
        if self._refused_creates and self._refused_creates[-1][0] != error.status:
            self._refused_creates.clear()
        self._refused_creates.append((error.status, entry.id))
        if len(self._refused_creates) >= SYSTEMIC_IN_A_ROW:
            self._systemic(error, report)

    def _systemic(self, error: Rejected, report: Report) -> None:
        """Every create is refused alike: it is not the recordings' fault, so none of them stays parked."""
        for _status, recording_id in self._refused_creates:
            entry = self._outbox.store.get(recording_id)
            if entry is not None and entry.status is Status.PARKED:
                self._outbox.retry(entry)
                report.parked = [parked for parked in report.parked if parked != recording_id]
        self._refused_creates = self._refused_creates[1 - SYSTEMIC_IN_A_ROW :]
        log.error("the API refuses every recording", action="sync_systemic", reason=str(error))
        self._begin_rest("the API refuses every recording", PROBE_SECONDS, report, error)

    def _park(self, entry: Entry, reason: str, report: Report) -> None:
        self._outbox.park(entry, reason)
        report.parked.append(entry.id)

    def revive_parked(self) -> None:
        """Give what was refused another try once a day for a week."""
        for entry in self._outbox.store.of_status(Status.PARKED):
            age = (self._outbox.now_ms() - (entry.parked_ms or 0)) / 1000
            if entry.parked_tries < PARKED_RETRIES and age >= PARKED_RETRY_SECONDS and not is_damaged(entry):
                self._outbox.retry(entry, tries=entry.parked_tries + 1)

    # for people

    def show_waiting(self) -> None:
        """Report why nothing is being delivered, and until when."""
        pause = self._outbox.store.pause("api")
        waiting = None
        if self.pause_left() > 0 and pause is not None:
            waiting = Waiting("the API asked for a pause", pause.wall_ms)
        elif self.rest is not None:
            left = max(0.0, self.rest.until - self._clock.monotonic())
            waiting = Waiting(self.rest.reason, self._deadlines.after(left).wall_ms)
        self._board.report(waiting=waiting)
