"""The parts of the process that hears, each built once and handed what it needs."""

from collections.abc import Callable
from functools import cached_property

from agent.audio.source import Source
from agent.audio.wav_file import RealTime, WavFile, parse_file_input
from agent.capture.microphone import Microphone
from agent.capture.mixer import CaptureControl
from agent.capture.mixer_reader import CaptureControlReader
from agent.capture.process import CaptureSettings
from agent.clock import UNSYNCHRONIZED, Clock, Instant
from agent.config.schema import Config
from agent.disk import Disk
from agent.environment import Environment
from agent.gaps.log import GapLog
from agent.gaps.tracker import GapTracker
from agent.host.reserve_file import ReserveFile
from agent.host.sound_cards import SoundCards
from agent.host.time_sync import clock_state
from agent.outbox.arrivals import announce
from agent.outbox.files import Files
from agent.process.state_directory import Process, StateDirectory
from agent.recorder.account.daybook import DayBook, windows_of
from agent.recorder.account.downtime import Downtime
from agent.recorder.account.memory import Memory, Numbers
from agent.recorder.binding import BindingFile
from agent.recorder.sink import OutboxFolder
from agent.recorder.space import RoomKeeper
from agent.recorder.standby import standby_of
from agent.recording.asked.mute import Mute
from agent.recording.recorder import Recorder
from agent.recording.segment_factory import SegmentFactory
from agent.recording.session_in_hand import Unattended
from agent.recording.storage_watch import StorageWatch
from agent.recording.triggers import Schedule, Trigger, trigger_for
from agent.status.board import Board
from agent.timing.known_time import KnownTime
from agent.zone import zone, zone_of_days


class RecorderWiring:
    """What records on one state directory, in the recorder's process or in a command that does its work.

    Whoever makes one holds the recorder's lock, or asks ``number`` for its numbers and writes its own file alone.
    """

    def __init__(
        self,
        config: Config,
        state: StateDirectory,
        *,
        clock: Clock | None = None,
        disk: Disk | None = None,
        machine: Callable[[], str | None] = clock_state,
        numbers: Numbers | None = None,
    ) -> None:
        self._numbers = numbers
        self.state = state
        self.environment = environment = Environment(config, state.path, clock=clock, disk=disk)
        self.config, self.clock = config, environment.clock
        self.disk, self.boot_id = environment.disk, environment.boot_id
        self.files = Files(state.path, self.disk)
        self.time = KnownTime(self.clock, self.boot_id, machine)
        self.time.read_clock(state.path)
        self.gap_tracker = GapTracker(
            GapLog(state.path, self.disk), self.time.elapsed_ms, lambda: self.memory.last_number + 1
        )
        self.reserve = ReserveFile(state.path, self.disk)

    @property
    def board(self) -> Board:
        """What is true now."""
        return self.environment.board

    def now(self) -> Instant:
        """Return this moment, its wall time as good as it is known."""
        return self.time.instant(self.clock.monotonic())

    @cached_property
    def _capture_control(self) -> CaptureControlReader:
        return CaptureControlReader(SoundCards(), self.clock.monotonic)

    def capture_control(self, identity: str | None) -> CaptureControl | None:
        """Return how the capture control of the microphone in use stands; without an ``identity`` of what is wanted."""
        return self._capture_control.read(identity or self.config.audio.input)

    @cached_property
    def memory(self) -> Memory:
        """Sequence numbers, and up to when was recorded."""
        return Memory(self.state.path, self.disk, self.files)

    @cached_property
    def binding(self) -> BindingFile:
        """Under which binding of the device is recorded."""
        return BindingFile(self.state.path, (self._numbers or self.memory).binding)

    @cached_property
    def sink(self) -> OutboxFolder:
        """Where finished files go."""
        return OutboxFolder(
            self.state.path,
            self.disk,
            self._numbers or self.memory,
            days=None if self._numbers else self.days,
            binding=self.binding.current,
            announce=lambda: announce(self.state.runtime_of(Process.DELIVERER)),
        )

    @cached_property
    def days(self) -> DayBook:
        """The sums of days, in the machine's zone; where none can be told it is UTC, as for the system itself."""
        recording = self.config.recording
        place = self.config.location
        schedule = Schedule(recording, self._unix_now, place) if recording.mode == "schedule" else None
        return DayBook(
            self.state.path,
            self.disk,
            self.memory,
            self.time,
            zone(zone_of_days()),
            windows_of(schedule) if schedule is not None else None,
        )

    def _unix_now(self) -> float:
        return self.now().wall_ms / 1000

    @cached_property
    def space(self) -> RoomKeeper:
        """Room on the card."""
        return RoomKeeper(self.files, self.disk, self.config.storage, self.reserve, self.gap_tracker)

    def downtime(self) -> Downtime:
        """Return what notes the absence before this start; to be made before anything is recorded."""
        settings = self.config
        return Downtime(
            self.files, self.memory, self.time, self.gap_tracker, settings.recording, settings.location
        )

    def trigger(self) -> Trigger:
        """Return what asks for recordings by the settings."""
        settings = self.config
        return trigger_for(
            settings.recording,
            self._unix_now,
            settings.location,
            lambda: self.time.state() != UNSYNCHRONIZED,
        )

    def read_what_is_told(self) -> None:
        """Look at what the deliverer tells: the clock, and the binding."""
        self.time.read_clock(self.state.path)
        self.binding.read()

    def source(self) -> Source:
        """Return what ``audio.input`` names: a microphone, or a file in real time."""
        audio = self.config.audio
        if audio.input.startswith("file:"):
            path, loop = parse_file_input(audio.input)
            return WavFile(path, loop=loop, realtime=RealTime(self.clock.monotonic, self.clock.sleep))
        capture = CaptureSettings(audio.sample_rate, audio.channels, audio.channel, self.state.runtime)
        percent = audio.capture_volume_percent
        return Microphone(audio.input, capture, SoundCards(), self.clock, capture_percent=percent)

    def recorder(
        self,
        source: Source,
        trigger: Trigger,
        *,
        unattended: bool,
        before: Callable[[Instant], object] = lambda _began: None,
    ) -> Recorder:
        """Return a recorder that reads a source into the outbox; ``before`` accounts for the time before its start."""
        self.sink.is_of_recorder = unattended
        segment_factory = SegmentFactory(
            self.environment, self.sink, self.time, self.gap_tracker, self.binding.current
        )
        storage = StorageWatch(
            self.sink.recording_folder, self.clock.monotonic, self.space.problem, self.reserve.release_reserve
        )
        by_itself = (
            Unattended(Mute(self.state.path, self.disk), before, standby_of(self.config, self.board, source))
            if unattended
            else None
        )
        return Recorder(self.environment, source, trigger, segment_factory, storage, by_itself)
