"""One cell lived through: the product's own parts on simulated time, against the matrix's server.

Only the clock and the time-outs are ours. Three recordings wait; the loop of the daemon delivers them while hours
pass at once, and what the board and the index say is noted whenever it goes to sleep.
"""

import io
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import tomli_w
from matrix_book import TOKEN, Exchange, Recording
from matrix_server import Server

from agent import log
from agent.api.client import RecordingsApi, Timeouts
from agent.config.loader import load
from agent.deliverer.wiring import DelivererWiring
from agent.outbox.entry import Entry, Status
from agent.process.state_directory import resolve
from agent.status.board import CredentialState

TIMEOUTS = Timeouts(connect=2.0, read=1.0, write=1.0, answer=3.0, keepalive=3600.0)
EPOCH = 1_790_000_000.0
DAY = 86_400.0
HOURS = 2 * 3600.0
DAYS = 9
RECORDINGS = 3


@dataclass(frozen=True)
class Cell:
    """A call, what it is answered with, one answer after the other, and the server's contract."""

    call: str
    answers: tuple[str, ...]
    contract: str
    sabotage: str = ""
    """The name of a fault built into the agent, for the controls."""
    seed: int = 0
    """Of the agent's jitter, together with the rest of the cell."""

    def __str__(self) -> str:
        return f"{self.contract} {self.call} {','.join(self.answers)} {self.sabotage}".rstrip()


@dataclass
class Outcome:
    """What was seen of one cell."""

    cell: Cell
    first: str = "unmet"
    """Where the recording that met the fault stood after the drain that met it."""
    hours: list[str] = field(default_factory=list)
    """Each recording two hours later, the one that met the fault first."""
    end: list[str] = field(default_factory=list)
    """Each recording in the end."""
    reason: str = ""
    attempts: list[int] = field(default_factory=list)
    """The most attempts each recording was ever charged."""
    verified: list[bool] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    server: dict[str, list[Recording]] = field(default_factory=dict)
    """What the server has of each recording, by local id."""
    local: list[Entry] = field(default_factory=list)
    audio: dict[str, bytes] = field(default_factory=dict)
    """The local file of each recording, by local id."""
    findings: list[str] = field(default_factory=list)


class Lived(Protocol):
    """One way to live through a cell."""

    def run(self) -> Outcome:
        """Return what was seen."""


class Clock:
    """Passes when somebody waits; ``asleep`` is called when the loop has nothing to do."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.loop: threading.Event | None = None
        self.asleep: Callable[[], None] = lambda: None

    def wall(self) -> float:
        """Unix time."""
        return EPOCH + self.elapsed

    def monotonic(self) -> float:
        """Seconds."""
        return 1000.0 + self.elapsed

    boottime = monotonic

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Let the time pass at once."""
        if event is self.loop:
            self.asleep()
        if not event.is_set():
            self.elapsed += max(seconds or 0.0, 0.001)
        return event.is_set()

    def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.elapsed += seconds


class MatrixParts(DelivererWiring):
    """The agent's parts, impatient."""

    @cached_property
    def api(self) -> RecordingsApi:
        """The product's client with short time-outs."""
        return RecordingsApi(
            self.config.api,
            self.credentials.token,
            self.clock,
            timeouts=TIMEOUTS,
            admission=self.limits,
        )


def prepare(folder: Path) -> Path:
    """Record the folder's ``sound.wav`` three times by the command line; its copies are agents with work to do."""
    _configure(folder, "http://127.0.0.1:1/v1")
    program = Path(sys.executable).with_name("recorder-agent")
    for _ in range(RECORDINGS):
        subprocess.run(
            [program, "--config", folder / "config.toml", "record", "--input", folder / "sound.wav"],
            check=True,
            capture_output=True,
        )
    return folder


def _configure(folder: Path, base_url: str) -> None:
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    settings = {
        "storage": {"directory": str(folder / "state"), "min_free_mb": 0},
        "api": {"token_file": str(token), "base_url": base_url},
        "sync": {"calls_per_minute": 1000},
        "audio": {"input": f"file:{folder / 'sound.wav'}"},
    }
    (folder / "config.toml").write_text(tomli_w.dumps(settings))


def live(
    cell: Cell, template: Path, life: Callable[[Cell, DelivererWiring, Server, Clock], Lived]
) -> Outcome:
    """Live through a cell and return what was seen."""
    log.configure("error", "text", io.StringIO())
    shm = Path("/dev/shm")  # noqa: S108 - nothing here must outlive the cell, and fsync costs nothing
    clock = Clock()
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as name:
        folder = Path(name)
        shutil.copytree(template, folder, dirs_exist_ok=True, symlinks=True)
        server = Server(cell.contract, cell.call, list(cell.answers), clock.wall)
        _configure(folder, server.base_url)
        loaded = load(folder / "config.toml", {})
        parts = MatrixParts(loaded.config, resolve(loaded, {}), {}, clock=clock, machine=lambda: "ntp")
        parts.environment.rng = random.Random(f"{cell.seed} {cell}")
        try:
            parts.reconcile()
            return life(cell, parts, server, clock).run()
        finally:
            parts.close()
            server.close()


class Life:
    """The loop over hours and days."""

    def __init__(self, cell: Cell, parts: DelivererWiring, server: Server, clock: Clock) -> None:
        self._parts, self._server, self._clock = parts, server, clock
        self._outcome = Outcome(cell)
        self._stopping = threading.Event()
        self._days = 0
        self._until = HOURS
        self._most: dict[str, int] = {}

    def run(self) -> Outcome:
        """Let the loop run until everything is delivered, or nine days have passed."""
        outcome, outbox = self._outcome, self._parts.outbox
        outcome.audio = {entry.id: outbox.files.audio(entry).read_bytes() for entry in outbox.store.all()}
        self._clock.loop = outbox.arrived
        self._clock.asleep = self._asleep
        self._parts.syncer.run(self._stopping)
        self._take_down()
        return outcome

    def _asleep(self) -> None:
        entries = list(self._parts.outbox.store.all())
        for entry in entries:
            self._most[entry.id] = max(self._most.get(entry.id, 0), entry.attempts)
        if self._outcome.first == "unmet" and self._server.hits:
            self._outcome.first, self._outcome.reason = self._standing(entries[0])
        done = all(entry.status is Status.UPLOADED for entry in entries)
        reconciled = all(entry.status in {Status.UPLOADED, Status.PARKED} for entry in entries)
        if self._clock.elapsed < self._until and not (reconciled and self._clock.elapsed > 60):
            return
        if not self._outcome.hours:
            self._outcome.hours = [_place(entry) for entry in entries]
        self._days += 1
        if done or self._days > DAYS:
            self._stopping.set()
            return
        self._clock.elapsed += DAY + 60
        self._until = self._clock.elapsed + 1200
        self._parts.outbox.arrived.set()

    def _standing(self, entry: Entry) -> tuple[str, str]:
        """Return where the recording and the whole stand, by what a person is shown."""
        shown = self._parts.board.snapshot
        waiting = shown.waiting.reason if shown.waiting else ""
        if entry.status is Status.UPLOADED:
            return "delivered", ""
        if entry.status is Status.PARKED:
            return "parked", entry.parked_reason or ""
        if shown.credential is CredentialState.REFUSED:
            return "refused", waiting
        if shown.online is False:
            return "offline", waiting
        if "refuses every" in waiting:
            return "systemic", waiting
        if "pause" in waiting:
            return "paused", waiting
        if "verifying" in (entry.last_error or "") and not entry.attempts:
            return "verifying", entry.last_error or ""
        return ("busy" if entry.attempts else "nothing"), entry.last_error or waiting

    def _take_down(self) -> None:
        outcome, book, outbox = self._outcome, self._server.book, self._parts.outbox
        outcome.local = list(outbox.store.all())
        outcome.end = [_place(entry) for entry in outcome.local]
        outcome.verified = [entry.verified for entry in outcome.local]
        outcome.attempts = [self._most.get(entry.id, 0) for entry in outcome.local]
        outcome.exchanges = book.exchanges
        outcome.findings = book.findings
        outcome.server = {entry.id: book.of_client(entry.id) for entry in outcome.local}
        for entry in outcome.local:
            folder = "sent" if entry.status is Status.UPLOADED else "outbox"
            if outbox.files.audio(entry).parent.name != folder or not outbox.files.audio(entry).exists():
                outcome.findings.append(f"the file of a {entry.status} recording is not in {folder}/")


def _place(entry: Entry) -> str:
    return "delivered" if entry.status is Status.UPLOADED else entry.status.value
