"""A recorder with real files, index and encoder, under a simulated clock and with a scripted source."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from both_processes import adopt_at_once
from lifetimes import closed_after_test
from simulated import RATE, Script, ScriptedSource, SimulatedClock

from agent.clock import Instant
from agent.config.schema import Config, OpusConfig, RecordingConfig
from agent.disk import Disk
from agent.environment import Environment
from agent.errors import AgentError
from agent.gaps.log import Cause, Gap, GapLog
from agent.gaps.tracker import GapTracker
from agent.index.outbox import Outbox
from agent.index.reconcile import Reconciler
from agent.outbox.entry import Entry
from agent.process.state_directory import StateDirectory
from agent.recorder.account.memory import Memory
from agent.recorder.sink import OutboxFolder
from agent.recording.asked.mute import Mute
from agent.recording.days.gapsfile import read_gaps
from agent.recording.listening.standby import StandbySettings
from agent.recording.recorder import Recorder
from agent.recording.segment_factory import SegmentFactory
from agent.recording.session_in_hand import Unattended
from agent.recording.storage_watch import StorageWatch
from agent.recording.triggers import Trigger, trigger_for
from agent.timing.time_sync import TimeSync

BOOT = "0a8f5b62-3f0e-4d8e-9a36-0d6c3f3b1a11"


@dataclass
class RecordingSetup:
    """Everything a recorder works with in one folder; ``disk_fails`` may raise at any durable step."""

    folder: Path
    settings: RecordingConfig = field(default_factory=RecordingConfig)
    disk_fails: Callable[[str], None] = lambda _step: None
    storage_problem: Callable[[bool], AgentError | None] = lambda _was_full: None
    unattended: bool = True
    standby: StandbySettings = field(default_factory=StandbySettings)
    opus: OpusConfig = field(default_factory=lambda: OpusConfig(complexity=0))
    binding: Callable[[], str | None] = lambda: None
    before: Callable[[Instant], object] = lambda _began: None

    def __post_init__(self) -> None:
        self.clock = SimulatedClock()
        self.disk = Disk(lambda step: self.disk_fails(step))  # noqa: PLW0108 - a test may change it later
        config = Config(recording=self.settings, opus=self.opus)
        self.environment = Environment(config, self.folder, clock=self.clock, disk=self.disk, boot_id=BOOT)
        self.state = StateDirectory(self.folder, self.folder)
        self.state.create()
        self.time_sync = TimeSync(self.folder, self.disk, self.clock, BOOT, lambda: "ntp")
        self.board = self.environment.board
        self.outbox = Outbox(self.folder, self.disk, lambda: self.time_sync.instant(self.clock.monotonic()))
        self.sink = OutboxFolder(self.folder, self.disk, Memory(self.folder, self.disk, self.outbox.files))
        self.arrivals = adopt_at_once(self.sink, self.outbox, self.disk)
        closed_after_test(self.outbox)
        self.gap_tracker = GapTracker(GapLog(self.folder, self.disk), self.time_sync.elapsed_ms)
        self.disk_failures = 0

    def record(
        self, script: Callable[[ScriptedSource, Recorder], Script], trigger: Trigger | None = None
    ) -> float:
        """Run the recorder through a script, which ends by ``recorder.stop``; return the seconds that passed."""
        began = self.clock.monotonic()
        self.source = ScriptedSource(self.clock, lambda source: script(source, self.recorder))
        self.environment.disk = self.disk
        segment_factory = SegmentFactory(
            self.environment, self.sink, self.time_sync, self.gap_tracker, self.binding
        )
        self.recorder = Recorder(
            self.environment,
            self.source,
            trigger or trigger_for(self.settings, self.clock.wall),
            segment_factory,
            StorageWatch(
                self.sink.recording_folder,
                self.clock.monotonic,
                lambda was_full: self.storage_problem(was_full),  # noqa: PLW0108 - likewise
                self._disk_failed,
            ),
            Unattended(Mute(self.folder, self.disk), self.before, self.standby) if self.unattended else None,
        )
        self.recorder.run()
        return (self.recorder._stopped_at or 0.0) - began

    def _disk_failed(self) -> None:
        self.disk_failures += 1

    def repair(self) -> None:
        """Bring files and index together, as the housekeeping does."""
        Reconciler(self.outbox, self.disk).run()

    @property
    def entries(self) -> list[Entry]:
        """What was recorded, in order."""
        return list(self.outbox.store.all())

    @property
    def samples(self) -> list[int]:
        """The lengths of the recordings."""
        return [entry.samples for entry in self.entries]

    @property
    def gaps(self) -> list[Gap]:
        """What the gap log says."""
        return read_gaps(self.folder)

    def missing(self, *causes: Cause) -> float:
        """Return the seconds the gap log has for some causes, or for all; what lies inside recordings apart."""
        return sum(
            (gap.milliseconds or 0) / 1000
            for gap in self.gaps
            if gap.recording_id is None and (not causes or gap.cause in causes)
        )

    @property
    def accounted(self) -> float:
        """Seconds recorded, and seconds the gap log knows to be missing."""
        return sum(self.samples) / RATE + self.missing()
