"""The loop that drains the outbox: what is due, in which order, and when to look again."""

import contextlib
import heapq
import threading
from collections.abc import Callable, Iterator

from agent import bounds
from agent.api.errors import Offline
from agent.clock import milliseconds
from agent.environment import Environment
from agent.errors import AgentError
from agent.index.outbox import Outbox
from agent.outbox.entry import WAITING, Entry, Status
from agent.status.board import CredentialState, Transfer, Waiting
from agent.sync.connection import Connection
from agent.sync.delivery import Delivery
from agent.sync.failures import DeliveryFailures
from agent.sync.pacing.deadlines import ROUNDING_SECONDS
from agent.sync.result import SyncResult
from agent.sync.rules.data_usage import DataLimitReached
from agent.sync.rules.forecast import Pace
from agent.sync.rules.waits_by_rule import WaitsByRule
from agent.token.holds import Holds

POLL_SECONDS = 10.0
"""How long the loop sleeps when nothing is due; an event wakes it earlier."""

VERIFYING = "the server is still verifying an upload"
CLOCK = "the time is not known yet: two answers of the server must agree"
SHARING = "other devices share the API's limit"
TOO_SMALL = "the API's rate limit is too small for the fleet"

Listener = Callable[[str, int, int], None]
"""Called with a recording's local id, the bytes of it that were sent, and all its bytes."""


class Syncer:
    """Delivers what is due; one thread at a time drains.

    ``drain`` and ``run`` raise OSError and sqlite3.Error when the disk or the index fails.
    """

    def __init__(
        self,
        environment: Environment,
        outbox: Outbox,
        delivery: Delivery,
        failures: DeliveryFailures,
        connection: Connection,
        holds: Holds,
    ) -> None:
        self._delivery = delivery
        self._failures = failures
        self._connection = connection
        self._outbox = outbox
        self._board = environment.board
        self._clock = environment.clock
        self._deadlines = connection.deadlines
        self._clock_wait = connection.clock_wait
        self._limits = connection.limits
        self._pace = Pace(self._clock.monotonic)
        self._holds = holds
        self._stop = threading.Event()
        self._everything = False
        self._listeners: list[Listener] = []

    def run(self, stopping: threading.Event) -> None:
        """Drain whenever something is due, until ``stopping`` is set."""
        while not stopping.is_set():
            self._outbox.arrived.clear()
            self._failures.revive_parked()
            everything, self._everything = self._everything, False
            self.drain(everything=everything)
            if not stopping.is_set():
                self._clock.wait(self._outbox.arrived, self._seconds_to_next())

    def stop(self) -> None:
        """End a drain between two recordings, and wake the loop."""
        self._stop.set()
        self._outbox.arrived.set()

    def try_everything(self) -> None:
        """Let ``run`` drain as soon as it can as ``drain(everything=True)`` does."""
        self._everything = True
        self._outbox.arrived.set()

    def network_is_back(self) -> None:
        """Try at once what waits because it is offline; never required, it would be tried later anyway."""
        self._connection.network_is_back()
        self._outbox.arrived.set()

    @contextlib.contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Let somebody hear how far each upload is."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def drain(self, *, everything: bool = False, any_network: bool = False) -> SyncResult:
        """Deliver what is due, oldest first.

        ``everything`` ignores backoff, off-peak hours, the battery and pacing, and waits for slow verification and for
        the time; ``any_network`` the owner's networks and roaming. Never ignored: a Retry-After, a hold, a parking, a
        daily limit.
        """
        report, networks = SyncResult(), self._connection.owner.networks
        if everything:
            self._limits.end_pacing()
        with self._connection.delivering, networks.ignored_if(any_network):
            self._drain(report, everything=everything)
        while everything and self._goes_on(report) and self._await_some(report):
            with self._connection.delivering, networks.ignored_if(any_network):
                self._drain_again(report)
        return report

    def _drain(self, report: SyncResult, *, everything: bool) -> None:
        """Try all that may be tried now; who calls holds the lock."""
        self._connection.begin_drain()
        self._pace.begins()
        self._take_up_token(everything=everything)
        if self._may_begin(report):
            self._ask_time(report)
            self._pass(report, everything=everything)
            if self._goes_on(report) and self._holds.settle(self._stop.is_set):
                self._pass(report, everything=everything)
            if isinstance(report.stopped_by, DataLimitReached):
                self._goes_on_without_data(report, everything=everything)
            if everything and self._goes_on(report):
                self._try_token(report)
        self._finish()

    def _may_begin(self, report: SyncResult) -> bool:
        report.stopped_by = obstacle = self._connection.obstacle()
        if isinstance(obstacle, WaitsByRule) and self._outbox.store.oldest_waiting() is not None:
            self._connection.note_waiting(obstacle.waiting)
        return obstacle is None

    def _drain_again(self, report: SyncResult) -> None:
        """Try what an earlier pass had to wait for: the server's verification, the time."""
        problem = self._connection.forbidden()
        if problem is not None:
            self._failures.failed("", problem, report)
            return
        self._ask_time(report)
        self._pass_verifying(report, everything=True)
        ids, report.without_time = report.without_time, []
        for entry in map(self._outbox.store.get, ids):
            if entry is not None and entry.status in WAITING:
                if not self._goes_on(report):
                    break
                if self._clock_wait.may_create(entry):
                    self._try(entry, report)
                else:
                    report.without_time.append(entry.id)
        if self._goes_on(report) and self._holds.settle(self._stop.is_set):
            self._pass(report, everything=True)
        self._finish()

    def _finish(self) -> None:
        self._outbox.files.settle()
        self._outbox.store.forget_upload_urls()
        self._board.report(transfer=None)
        self._connection.show()

    def _take_up_token(self, *, everything: bool) -> None:
        """End the rest of a token that is another now, and hold what is not its owner's."""
        changed = self._holds.token_changed()
        if changed:
            self._board.report(credential=self._holds.known_of_token())
        if changed or everything:
            self._connection.end_wait()
        self._holds.settle(self._stop.is_set)

    def _try_token(self, report: SyncResult) -> None:
        """Tell a token that is wrong even where all that is left is held, and no call was made for it."""
        if self._board.snapshot.credential is CredentialState.ACCEPTED or not self._holds.any():
            return
        try:
            self._holds.try_token()
        except AgentError as error:
            self._failures.failed("", error, report)

    @property
    def _verifying(self) -> dict[str, int]:
        return self._failures.verifying

    def _pass(self, report: SyncResult, *, everything: bool) -> None:
        """Try what may be tried, oldest first."""
        for entry in self._failures.suspects_last(
            self._outbox.store.waiting() if everything else self._due()
        ):
            if not self._goes_on(report) or not self._has_its_turn(report, everything=everything):
                return
            fresh = self._outbox.store.get(entry.id)  # its turn may have been long in coming
            if fresh is None or fresh.status not in WAITING:
                continue
            if everything and not self._clock_wait.may_create(fresh):
                report.without_time.append(fresh.id)
            elif not (everything and self._failures.asked_to_wait(fresh) > 0):
                self._try(fresh, report)

    def _pass_verifying(self, report: SyncResult, *, everything: bool) -> None:
        """Ask about what is being verified."""
        for entry in map(self._outbox.store.get, list(self._verifying)):
            if not self._goes_on(report) or not self._has_its_turn(report, everything=everything):
                return
            if entry is not None and entry.status is Status.STORED and self._is_due(entry):
                self._try(entry, report)

    def _goes_on_without_data(self, report: SyncResult, *, everything: bool) -> None:
        """Ask about what is being verified although the data limit is reached: that takes none."""
        asked = SyncResult()
        self._pass_verifying(asked, everything=everything)
        report.delivered += asked.delivered
        report.parked += asked.parked

    def _due(self) -> Iterator[Entry]:
        """Yield what is due and whose start is known well enough, oldest first; never reads the rest."""
        store, boot_ms = self._outbox.store, milliseconds(self._clock.boottime())
        store.end_backoffs(self._deadlines.boot_id, boot_ms, milliseconds(self._clock.wall()))
        ways = [self._behind(clock) for clock in store.unset_clocks()]
        return heapq.merge(*ways, key=lambda entry: entry.seq)

    def _behind(self, clock: str) -> Iterator[Entry]:
        seq = -1
        while page := self._outbox.store.ready(clock, after_seq=seq):
            for entry in page:
                if not self._clock_wait.may_create(entry):
                    return
                yield entry
            seq = page[-1].seq

    def _has_its_turn(self, report: SyncResult, *, everything: bool) -> bool:
        """Wait until the next recording may begin, by the owner's rules and by the limits all devices share."""
        while not self._stop.is_set():
            obstacle = None if everything else self._connection.obstacle_to_next()
            if obstacle is not None:
                self._failures.failed("", obstacle, report)
                return False
            too_small = self._limits.observe(self._outbox.store.counts()["pending"])
            wait = self._limits.recording_wait()
            if wait <= 0:
                self._limits.recording_begins()
                return True
            until = self._deadlines.after(wait).wall_ms
            self._board.report(transfer=None, waiting=Waiting(TOO_SMALL if too_small else SHARING, until))
            self._clock.wait(self._stop, min(wait, POLL_SECONDS))
        return False

    def _goes_on(self, report: SyncResult) -> bool:
        return report.stopped_by is None and not self._stop.is_set()

    def _is_due(self, entry: Entry) -> bool:
        return self._deadlines.remaining(entry.next_attempt, bounds.ATTEMPT_SECONDS) <= 0

    def _try(self, entry: Entry, report: SyncResult) -> None:
        """Deliver one recording, and do what its failure asks for."""
        self._board.report(transfer=Transfer(entry.id, 0, entry.size_bytes), waiting=None)
        try:
            done = self._holds.deliver(
                entry, lambda entry: self._delivery.deliver(entry, self._note_progress)
            )
            if done is None:
                return
            self._failures.delivered(done, report)
            self._board.report(seconds_each=self._pace.delivered())
        except AgentError as error:
            self._failures.failed(entry.id, error, report)
            if isinstance(error, Offline):
                self._clock_wait.offline()
                return
        finally:
            self._connection.upload_ended()
        self._clock_wait.learn()

    def _ask_time(self, report: SyncResult) -> None:
        """Learn the time before the first recording that was captured under a wrong clock is created."""
        oldest = self._outbox.store.oldest_waiting()
        if oldest is None or self._clock_wait.may_create(oldest):
            return
        try:
            self._clock_wait.ask()
        except AgentError as error:
            self._clock_wait.offline()
            self._failures.failed(oldest.id, error, report)
            return
        if not self._clock_wait.may_create(oldest):
            until = self._deadlines.after(self._clock_wait.seconds_left()).wall_ms
            self._connection.note_waiting(Waiting(CLOCK, until))

    def _note_progress(self, entry: Entry, sent: int) -> None:
        self._connection.upload_moves()
        self._board.report(transfer=Transfer(entry.id, sent, entry.size_bytes))
        for listener in list(self._listeners):
            listener(entry.id, sent, entry.size_bytes)

    def _await_some(self, report: SyncResult) -> bool:
        """Wait until something that an earlier pass left may be tried again; False when nothing of it is left.

        Nothing is locked meanwhile: what is recorded now is delivered beside it.
        """
        waits = [
            (self._deadlines.remaining(entry.next_attempt, bounds.ATTEMPT_SECONDS), VERIFYING)
            for entry in map(self._outbox.store.get, list(self._verifying))
            if entry is not None and entry.status is Status.STORED
        ]
        if report.without_time:
            waits.append((min(self._clock_wait.seconds_to_ask(), self._clock_wait.seconds_left()), CLOCK))
        if not waits:
            return False
        seconds, reason = min(waits)
        self._board.report(waiting=Waiting(reason, self._deadlines.after(seconds).wall_ms))
        self._clock.wait(self._stop, max(seconds, ROUNDING_SECONDS))
        return True

    def _seconds_to_next(self) -> float:
        seconds = self._connection.seconds_to_next()
        return POLL_SECONDS if seconds is None else min(POLL_SECONDS, seconds)
