"""The loop that drains the outbox: what is due, in which order, and when to look again."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from agent.errors import AgentError
from agent.outbox.entry import Entry, Status
from agent.outbox.outbox import Outbox
from agent.recording.clock import Clock
from agent.status.board import Board, Transfer
from agent.sync.clockgate import ClockGate
from agent.sync.conclusions import LONGEST_PAUSE, Conclusions
from agent.sync.delivery import Delivery
from agent.sync.drained import Report
from agent.sync.failures import Offline, RateLimited
from agent.sync.pace import Deadlines

LOOK_SECONDS = 10.0
"""How long the loop sleeps when nothing is due; an event wakes it earlier."""

Listener = Callable[[str, int, int], None]
"""Called with a recording's local id, the bytes of it that were sent, and all its bytes."""


class Syncer:
    """Delivers what is due; one thread at a time drains.

    ``drain`` and ``run`` raise OSError and sqlite3.Error when the disk or the index fails.
    """

    def __init__(
        self,
        delivery: Delivery,
        conclusions: Conclusions,
        outbox: Outbox,
        board: Board,
        clock: Clock,
        *,
        deadlines: Deadlines,
        gate: ClockGate,
        token_changed: Callable[[], bool],
    ) -> None:
        self._delivery = delivery
        self._conclusions = conclusions
        self._outbox = outbox
        self._board = board
        self._clock = clock
        self._deadlines = deadlines
        self._gate = gate
        self._token_changed = token_changed
        self._draining = threading.Lock()
        self._stop = threading.Event()
        self._listeners: list[Listener] = []

    def run(self, stopping: threading.Event) -> None:
        """Drain whenever something is due, until ``stopping`` is set."""
        while not stopping.is_set():
            self._outbox.arrived.clear()
            self._conclusions.revive_parked()
            self.drain()
            if not stopping.is_set():
                self._clock.wait(self._outbox.arrived, self._seconds_to_next())

    def stop(self) -> None:
        """End a drain between two recordings, and wake the loop."""
        self._stop.set()
        self._outbox.arrived.set()

    @contextlib.contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Let somebody hear how far each upload is."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def drain(self, *, everything: bool = False) -> Report:
        """Deliver what is due, oldest first; ``everything`` ignores backoff, and waits for slow verification.

        Never ignored: a pause the API asked for, a hold, a parking.
        """
        with self._draining:
            report = Report()
            if everything or self._token_changed():
                self._conclusions.rest = None
            if not self._rests(report):
                self._ask_time(report)
                self._pass(report, lambda entry: everything or self._may_be_tried(entry))
                while everything and self._goes_on(report) and self._await_verification():
                    self._pass(report, lambda entry: entry.id in self._verifying and self._is_due(entry))
            self._board.report(transfer=None)
            self._conclusions.show_waiting()
            return report

    @property
    def _verifying(self) -> dict[str, int]:
        return self._conclusions.verifying

    def _rests(self, report: Report) -> bool:
        """Whether nothing may be tried now."""
        pause = self._conclusions.pause_left()
        if pause > 0:
            report.stopped_by = RateLimited(
                f"the API asked for no calls for another {pause:.0f} s; they are made after that", status=429
            )
            return True
        rest = self._conclusions.rest
        if rest is not None and rest.until <= self._clock.monotonic():
            rest = self._conclusions.rest = None
        return rest is not None

    def _pass(self, report: Report, wanted: Callable[[Entry], bool]) -> None:
        """Try what is wanted, oldest first, a page of rows at a time."""
        seq = -1
        while self._goes_on(report) and (page := self._outbox.store.waiting(after_seq=seq)):
            for entry in page:
                seq = entry.seq
                if wanted(entry):
                    self._try(entry, report)
                if not self._goes_on(report):
                    return

    def _goes_on(self, report: Report) -> bool:
        return report.stopped_by is None and not self._stop.is_set()

    def _may_be_tried(self, entry: Entry) -> bool:
        return self._is_due(entry) and self._gate.opens_for(entry)

    def _is_due(self, entry: Entry) -> bool:
        return self._deadlines.remaining(entry.next_attempt, LONGEST_PAUSE) <= 0

    def _try(self, entry: Entry, report: Report) -> None:
        """Deliver one recording, and draw the conclusions."""
        self._board.report(transfer=Transfer(entry.id, 0, entry.size_bytes))
        try:
            self._conclusions.delivered(self._delivery.deliver(entry, self._note_progress), report)
        except AgentError as error:
            self._conclusions.failed(entry.id, error, report)
            if isinstance(error, Offline):
                self._gate.offline()
                return
        self._gate.learn()

    def _ask_time(self, report: Report) -> None:
        """Learn the time before the first recording that was captured under a wrong clock is created."""
        oldest = self._outbox.store.oldest_waiting()
        if oldest is None or self._gate.opens_for(oldest):
            return
        try:
            self._gate.ask()
        except AgentError as error:
            self._gate.offline()
            self._conclusions.failed(oldest.id, error, report)

    def _note_progress(self, entry: Entry, sent: int) -> None:
        self._board.report(transfer=Transfer(entry.id, sent, entry.size_bytes))
        for listener in list(self._listeners):
            listener(entry.id, sent, entry.size_bytes)

    def _await_verification(self) -> bool:
        """Wait until a recording that is being verified may be asked about; False when none is left."""
        waits = [
            self._deadlines.remaining(entry.next_attempt, LONGEST_PAUSE)
            for entry in map(self._outbox.store.get, list(self._verifying))
            if entry is not None and entry.status is Status.STORED
        ]
        if waits:
            self._clock.wait(self._stop, min(waits))
        return bool(waits)

    def _seconds_to_next(self) -> float:
        pause, rest = self._conclusions.pause_left(), self._conclusions.rest
        if pause > 0:
            return min(LOOK_SECONDS, pause)
        if rest is not None:
            return min(LOOK_SECONDS, max(0.0, rest.until - self._clock.monotonic()))
        waits = [
            self._deadlines.remaining(entry.next_attempt, LONGEST_PAUSE)
            for entry in self._outbox.store.waiting()
            if self._gate.opens_for(entry)
        ]
        return min([LOOK_SECONDS, *waits])
