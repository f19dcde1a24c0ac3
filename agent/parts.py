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
from agent.host.boot import boot_id, hostname
from agent.host.clocksync import clock_state
from agent.host.disk import Disk
from agent.host.soundcards import SoundCards
from agent.host.storage import shortage
from agent.outbox.outbox import Outbox
from agent.outbox.reconcile import Findings, Reconciler
from agent.recording.clock import SystemClock
from agent.recording.recorder import Recorder
from agent.recording.session import Workshop
from agent.recording.triggers import Trigger
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
        self, config: Config, state: StateDirectory, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.config = config
        self.state = state
        self.clock = SystemClock()
        self.disk = Disk()
        self.board = Board(self.clock.monotonic)
        self.boot_id = boot_id()
        self.credentials = Credentials(state.path, config.api.token_file, environ)

    @cached_property
    def outbox(self) -> Outbox:
        """Files and index."""
        return Outbox(self.state.path, self.disk, self.clock)

    def reconcile(self, stopped: Callable[[], bool] = lambda: False) -> Findings:
        """Bring files and index together; only for the one process that holds the state directory's lock."""
        return Reconciler(self.outbox, self.disk, stopped=stopped).run()

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
        storage = self.config.storage
        workshop = Workshop(
            self.outbox,
            self.config.opus,
            disk=self.disk,
            clock=self.clock,
            boot_id=self.boot_id,
            clock_state=lambda: clock_state() or "unsynchronized",
            flush_seconds=storage.flush_seconds,
        )
        return Recorder(
            source,
            trigger,
            workshop,
            self.config.recording,
            self.board,
            storage_problem=lambda: shortage(self.state.path, storage.min_free_mb),
            unattended=unattended,
        )

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
        from agent.sync.conclusions import Conclusions  # noqa: PLC0415 - imports httpx
        from agent.sync.delivery import Delivery  # noqa: PLC0415 - imports httpx
        from agent.sync.syncer import Syncer  # noqa: PLC0415 - imports httpx

        deadlines = Deadlines(self.clock, self.boot_id)
        backoff = Backoff(rng=random.Random())  # noqa: S311 - jitter, not a secret
        return Syncer(
            Delivery(
                self.api, self.outbox, self.config, self.clock, boot_id=self.boot_id, hostname=hostname()
            ),
            Conclusions(self.outbox, self.board, self.clock, deadlines=deadlines, backoff=backoff),
            self.outbox,
            self.board,
            self.clock,
            deadlines=deadlines,
            token_changed=self.credentials.changed,
        )

    def close(self) -> None:
        """End calls and close the index, where they were begun."""
        built = vars(self)
        if "api" in built:
            self.api.close()
        if "outbox" in built:
            self.outbox.close()
