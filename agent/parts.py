"""The parts of the agent, each built once and when first asked for, and handed what it needs."""

import os
import random
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from agent.audio.microphone import Microphone
from agent.audio.source import Source
from agent.audio.wavfile import RealTime, WavFile, parse_file_input
from agent.config import Config
from agent.host.ballast import Ballast
from agent.host.boot import boot_id, hostname
from agent.host.clocksync import clock_state
from agent.host.disk import Disk
from agent.host.soundcards import SoundCards
from agent.outbox.entry import Entry
from agent.outbox.findings import Findings
from agent.outbox.outbox import Outbox
from agent.outbox.reconcile import Reconciler
from agent.outbox.retention import Retention
from agent.recording.clock import Clock, Instant, SystemClock
from agent.recording.coverage import Coverage
from agent.recording.ledger import Cause, Ledger
from agent.recording.recorder import Recorder
from agent.recording.session import Workshop
from agent.recording.triggers import Trigger
from agent.recording.truetime import TrueTime
from agent.statedir import StateDirectory
from agent.status.board import Board
from agent.sync.backoff import Backoff
from agent.sync.credentials import Credentials
from agent.sync.pace import Deadlines

if TYPE_CHECKING:
    from agent.sync.api import RecordingsApi
    from agent.sync.syncer import Syncer


class Parts:
    """What one process works with on one state directory; ``close`` ends what was built."""

    def __init__(
        self,
        config: Config,
        state: StateDirectory,
        environ: Mapping[str, str] = os.environ,
        *,
        clock: Clock | None = None,
        disk: Disk | None = None,
        machine: Callable[[], str | None] = clock_state,
    ) -> None:
        self.config = config
        self.state = state
        self.clock = clock or SystemClock()
        self.disk = disk or Disk()
        self.board = Board(self.clock.monotonic)
        self.boot_id = boot_id()
        self.credentials = Credentials(state.path, config.api.token_file, environ, self.disk)
        self.truetime = TrueTime(state.path, self.disk, self.clock, self.boot_id, machine)
        self.coverage = Coverage(Ledger(state.path, self.disk), self.truetime.apart_ms)
        self.ballast = Ballast(state.path, self.disk)

    def now(self) -> Instant:
        """Return this moment, its wall time as good as it is known."""
        return self.truetime.instant(self.clock.monotonic())

    @cached_property
    def outbox(self) -> Outbox:
        """Files and index."""
        return Outbox(self.state.path, self.disk, self.now, self._note_deleted)

    def _note_deleted(self, entry: Entry) -> None:
        self.coverage.note(Cause.DELETED, entry.started, entry.duration_ms, entry.id)

    @cached_property
    def retention(self) -> Retention:
        """What is kept for how long."""
        return Retention(self.outbox, self.config.storage, self.ballast, self.coverage, self.now)

    def reconcile(self, stopped: Callable[[], bool] = lambda: False, *, dry_run: bool = False) -> Findings:
        """Bring files and index together; only for the one process that holds the state directory's lock."""
        return Reconciler(self.outbox, self.disk, stopped=stopped, dry_run=dry_run).run()

    def source(self) -> Source:
        """Return what ``audio.input`` names: a microphone, or a file in real time."""
        audio = self.config.audio
        if audio.input.startswith("file:"):
            path, loop = parse_file_input(audio.input)
            return WavFile(path, loop=loop, realtime=RealTime(self.clock.monotonic, self.clock.sleep))
        return Microphone(
            audio.input,
            audio.sample_rate,
            audio.channels,
            audio.channel,
            runtime_directory=self.state.runtime,
            cards=SoundCards(),
            monotonic=self.clock.monotonic,
        )

    def recorder(self, source: Source, trigger: Trigger, *, unattended: bool) -> Recorder:
        """Return a recorder that reads a source into the outbox."""
        workshop = Workshop(
            self.outbox,
            self.config.opus,
            disk=self.disk,
            clock=self.clock,
            instant=self.truetime.instant,
            coverage=self.coverage,
            flush_seconds=self.config.storage.flush_seconds,
            min_seconds=self.config.recording.min_seconds,
        )
        return Recorder(
            source,
            trigger,
            workshop,
            self.config.recording,
            self.board,
            storage_problem=self.retention.problem,
            disk_failed=self._disk_failed,
            unattended=unattended,
        )

    def _disk_failed(self) -> None:
        """Make room for the index, and have the file that could not be finished repaired."""
        self.ballast.give_up()
        self.outbox.store.unsettled.set()

    @cached_property
    def api(self) -> "RecordingsApi":
        """The recordings API."""
        from agent.sync.api import RecordingsApi  # noqa: PLC0415 - httpx is 6 MiB that ``record`` does not need

        return RecordingsApi(
            self.config.api, self.credentials.token, wall=self.clock.wall, monotonic=self.clock.monotonic
        )

    @cached_property
    def syncer(self) -> "Syncer":
        """The loop that delivers."""
        from agent.sync.clockgate import ClockGate  # noqa: PLC0415 - imports httpx
        from agent.sync.conclusions import Conclusions  # noqa: PLC0415 - imports httpx
        from agent.sync.delivery import Delivery  # noqa: PLC0415 - imports httpx
        from agent.sync.syncer import Syncer  # noqa: PLC0415 - imports httpx

        deadlines = Deadlines(self.clock, self.boot_id)
        backoff = Backoff(rng=random.Random())  # noqa: S311 - jitter, not a secret
        return Syncer(
            Delivery(
                self.api,
                self.outbox,
                self.config,
                self.clock,
                boot_id=self.boot_id,
                hostname=hostname(),
                corrected=self.truetime.corrected,
            ),
            Conclusions(self.outbox, self.board, self.clock, deadlines=deadlines, backoff=backoff),
            self.outbox,
            self.board,
            self.clock,
            deadlines=deadlines,
            gate=ClockGate(self.api, self.truetime, self.clock),
            token_changed=self.credentials.changed,
        )

    def close(self) -> None:
        """End calls and close the index, where they were begun."""
        built = vars(self)
        if "api" in built:
            self.api.close()
        if "outbox" in built:
            self.outbox.close()
