"""What an answer, or the lack of one, means for the recording it concerns and for all the others."""

from collections.abc import Iterator

from agent import bounds
from agent.api.errors import (
    Aborted,
    Busy,
    InvalidResponse,
    NotSent,
    RateLimited,
    RequestRejected,
    StillVerifying,
    StorageUnreachable,
)
from agent.environment import Environment
from agent.errors import AgentError
from agent.index.outbox import Outbox
from agent.index.table.schema import PAUSE_OF_RECORDING
from agent.log import get_logger
from agent.outbox.entry import Entry, Status
from agent.sync.connection import Connection, Reason
from agent.sync.pacing.backoff import Backoff, verifying_delay
from agent.sync.result import SyncResult
from agent.sync.rules.waits_by_rule import WaitsByRule

log = get_logger(__name__)

BUSY_IN_A_ROW = 3
"""After so many recordings met a busy server, the drain waits."""
SYSTEMIC_IN_A_ROW = 3
"""So many recordings in a row refused alike at one step are not refused for what they are."""
AFTER_VERIFYING = 8
"""The step of the backoff at which a verification of more than five minutes goes on: up to 256 s."""
MOST_COUNTED = 1000
"""Of so many recordings it is known how often in a row something was answered about each."""
PARKED_RETRY_MS = 86_400_000


class DeliveryFailures:
    """Answers them: parks, backs off, lets delivery wait (``connection``). Knows what recordings were refused alike."""

    def __init__(self, environment: Environment, outbox: Outbox, connection: Connection) -> None:
        self._outbox = outbox
        self._connection = connection
        self._board = environment.board
        self._deadlines = connection.deadlines
        self._backoff = Backoff(rng=environment.rng)
        self._busy_in_a_row = 0
        self._refused_alike: list[tuple[str, int, str]] = []
        """The last recordings that were refused: step, status and local id; all of one step and status."""
        self._singled_out: dict[str, int] = {}
        """Those of them whose refusal another delivery has shown to be their own."""
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
        self._connection.delivery_answered(accepted=True)
        self._busy_in_a_row = 0
        for recording_id in self.suspects:
            remember_count(self._singled_out, recording_id, 1)
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
        """Do what a failed delivery asks for, by the class of its error (``agent.api.errors``)."""
        if isinstance(error, WaitsByRule):
            self._connection.note_waiting(error.waiting)
        if self._connection.failed(error) or isinstance(error, Aborted | WaitsByRule):
            report.stopped_by = error
            return
        if not isinstance(error, NotSent):
            self._connection.delivery_answered(accepted=not isinstance(error, Busy))
        self._about_one(recording_id, error, report)

    def _about_one(self, recording_id: str, error: AgentError, report: SyncResult) -> None:
        """Park the recording that the failure concerns, or put it off."""
        entry = self._outbox.store.get(recording_id)
        if isinstance(error, RateLimited):
            report.stopped_by = error  # the pause itself began with the answer (``limits``)
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

    def asked_to_wait(self, entry: Entry) -> float:
        """Return for how many seconds the server asked not to be called for a recording; it survives a restart."""
        asked = self._outbox.store.pause(_asked(entry))
        left = self._deadlines.remaining(asked, bounds.PAUSE_SECONDS)
        if asked is not None and left <= 0:
            self._outbox.store.set_pause(_asked(entry), None)
        return left

    # one recording

    def _still_verifying(self, entry: Entry, error: StillVerifying) -> None:
        answers = self.verifying.get(entry.id, 0) + 1
        delay = verifying_delay(answers)
        if delay is None:
            self.verifying.pop(entry.id, None)
            self._back_off(entry, str(error), self._backoff.delay(AFTER_VERIFYING), counts=False)
            return
        remember_count(self.verifying, entry.id, answers)
        self._heed(entry, error.retry_after)
        self._back_off(entry, str(error), max(delay, error.retry_after or 0.0), counts=False)

    def _busy(self, entry: Entry, error: AgentError, report: SyncResult) -> None:
        after = error.retry_after if isinstance(error, Busy) else None
        self._heed(entry, after)
        of_storage = isinstance(error, StorageUnreachable)  # an outage, which uses up no attempts
        tries = self._without_storage.get(entry.id, 0) if of_storage else entry.attempts
        if of_storage:
            remember_count(self._without_storage, entry.id, tries + 1)
        self._back_off(entry, str(error), self._backoff.delay_after(tries, after), counts=not of_storage)
        self._busy_in_a_row += 1
        if self._busy_in_a_row >= BUSY_IN_A_ROW:
            self._connection.begin_wait(Reason.BUSY, seconds=self._backoff.delay(self._busy_in_a_row))
            report.stopped_by = error

    def _heed(self, entry: Entry, after: float | None) -> None:
        """Remember that the server asked not to be called before some time, which no person shortens."""
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
            del self._singled_out[entry.id]
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
        self._connection.begin_wait(Reason.REFUSES_ALL, f"{Reason.REFUSES_ALL.value}: {error}")
        report.stopped_by = error

    def _park(self, entry: Entry, reason: str, report: SyncResult) -> None:
        self._outbox.park(entry, reason)
        self.verifying.pop(entry.id, None)
        self._without_storage.pop(entry.id, None)
        report.parked.append(entry.id)

    def revive_parked(self) -> None:
        """Give what was refused another try once a day for a week, a few at a time."""
        for entry in self._outbox.store.parked_before(self._outbox.now_ms() - PARKED_RETRY_MS):
            self._outbox.retry(entry, tries=entry.parked_tries + 1)


def remember_count(counts: dict[str, int], recording_id: str, count: int) -> None:
    """Remember a count, and no more of them than ``MOST_COUNTED``: recordings are deleted that never answer again."""
    counts.pop(recording_id, None)
    counts[recording_id] = count
    while len(counts) > MOST_COUNTED:
        del counts[next(iter(counts))]


def _asked(entry: Entry) -> str:
    """Return the name under which a server's Retry-After for one recording is kept."""
    return f"{PAUSE_OF_RECORDING}{entry.id}"
