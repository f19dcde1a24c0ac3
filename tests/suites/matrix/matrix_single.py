"""The two calls that concern no recording, lived through: the heartbeat's own loop, and ``token refresh``."""

import threading
from pathlib import Path

from both_processes import as_remote
from matrix_agent import HOURS, Cell, Clock, Outcome
from matrix_book import AFRESH, NEXT_TOKEN, TOKEN
from matrix_server import Server

from agent.api.errors import Unauthorized
from agent.deliverer.wiring import DelivererWiring
from agent.errors import AgentError, CredentialError
from agent.outbox.entry import Status
from agent.recorder.wiring import RecorderWiring
from agent.recording.triggers import OnRequest
from agent.status.board import CredentialState
from agent.token.refresh import refresh


class Single:
    """One cell of ``heartbeat`` or ``refresh``, and the delivery of three recordings beside it."""

    def __init__(self, cell: Cell, parts: DelivererWiring, server: Server, clock: Clock) -> None:
        self._cell, self._parts, self._server, self._clock = cell, parts, server, clock
        self._outcome = Outcome(cell)

    def run(self) -> Outcome:
        """Live through it."""
        outcome, book = self._outcome, self._server.book
        if self._cell.call == "heartbeat":
            self._beat()
            self._deliver()
        else:
            self._deliver()
            self._refresh()
        outcome.exchanges, outcome.findings = book.exchanges, [*outcome.findings, *book.findings]
        entries = list(self._parts.outbox.store.all())
        outcome.end = ["delivered" if entry.status is Status.UPLOADED else entry.status for entry in entries]
        outcome.attempts = [entry.attempts for entry in entries]
        return outcome

    def _deliver(self) -> None:
        """Let the loop run for an hour, or until everything is delivered."""
        stopping, until = threading.Event(), self._clock.elapsed + 3600
        self._clock.loop = self._parts.outbox.arrived

        def asleep() -> None:
            if self._clock.elapsed > until or not self._parts.outbox.store.counts()["pending"]:
                stopping.set()

        self._clock.asleep = asleep
        self._parts.syncer.run(stopping)

    # heartbeats

    def _beat(self) -> None:
        """Send heartbeats for two hours, the first ones into the fault."""
        hears = RecorderWiring(
            self._parts.config, self._parts.state, clock=self._clock, machine=lambda: "ntp"
        )
        recorder = hears.recorder(hears.source(), OnRequest(), unattended=True)
        heartbeat = self._parts.heartbeat(as_remote(recorder))
        stopping, until = threading.Event(), self._clock.elapsed + HOURS
        self._clock.loop = heartbeat._wake

        def asleep() -> None:
            if self._server.hits and self._outcome.first == "unmet":
                self._outcome.first = self._standing()
            if self._clock.elapsed > until:
                stopping.set()

        self._clock.asleep = asleep
        heartbeat.run(stopping)
        self._outcome.hours = ["heard" if not self._server.book.exchanges[-1].answer else "unheard"]

    def _standing(self) -> str:
        shown = self._parts.board.snapshot
        if self._parts.connection.pause_left() > 0:
            return "paused"
        if shown.credential is CredentialState.REFUSED:
            return "refused"
        if shown.online is False:
            return "offline"
        return "reached"

    # the token

    def _refresh(self) -> None:
        outcome = self._outcome
        outcome.first, outcome.reason = self._try_refresh()
        if self._parts.connection.pause_left() > 0:
            outcome.first = f"{outcome.first}, paused"
        self._clock.elapsed += 600
        if outcome.first.startswith("kept"):
            outcome.hours = [self._try_refresh()[0]]
        elif outcome.first == "lost":
            outcome.hours = [self._after_a_loss()]
        else:
            outcome.hours = [self._alive()]

    def _try_refresh(self) -> tuple[str, str]:
        """Return ``renewed``, ``kept``, ``lost`` or what else it is, with the words of the failure."""
        parts = self._parts
        try:
            refresh(parts.credentials, parts.api)
        except AgentError as error:
            on_disk = parts.credentials.token().reveal()
            if on_disk != TOKEN:
                return "failed, and another token is on the disk", str(error)
            lost = isinstance(error, CredentialError) and not isinstance(error, Unauthorized)
            return ("lost" if lost else "kept"), str(error)
        return ("renewed" if parts.credentials.token().reveal() == NEXT_TOKEN else "forgotten"), ""

    def _alive(self) -> str:
        try:
            self._parts.api.heartbeat({})
        except AgentError as error:
            return type(error).__name__
        return "alive"

    def _after_a_loss(self) -> str:
        """Return how it goes on: refused, and alive again with the token that a person brings."""
        before = self._alive()
        self._server.book.token = AFRESH
        token_file = Path(self._parts.config.api.token_file)
        token_file.write_text(AFRESH)
        return f"{before}, then {self._alive()}"
