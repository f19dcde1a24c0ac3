"""One simulated life of a recorder: runs and boots with what befalls them.

Everything between the source and the card is the program's own: recorder, account, gap log, memory, files, repair.
"""

import contextlib
import random
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from simulated_asking import Asking
from simulated_days import zone_near_midnight
from simulated_machine import BEGINNING_MS, RATE, BootClock, Card, Died, Loud, Microphone, World, void
from simulated_verdict import EVERY_MINUTES, WINDOW_MINUTES, Listened

from agent.audio.detection.detector import FrameFeed
from agent.audio.ogg import NotOggOpus, read_summary
from agent.audio.ogg_repair import Unrepairable, carry_out, plan_repair
from agent.clock import Instant
from agent.config.schema import Config, OpusConfig, RecordingConfig, ScheduleWindow, StorageConfig
from agent.disk import Disk
from agent.environment import Environment
from agent.errors import AgentError
from agent.gaps.log import GapLog
from agent.gaps.tracker import GapTracker
from agent.outbox import sidecar
from agent.outbox.entry import Entry
from agent.outbox.files import AUDIO, SIDECAR, TEMPORARY, Files, digest, names
from agent.recorder.account.daybook import DayBook, windows_of
from agent.recorder.account.downtime import Downtime
from agent.recorder.account.memory import Memory
from agent.recorder.sink import OutboxFolder
from agent.recording.asked.mute import Mute
from agent.recording.asked.requests import ManualRequest
from agent.recording.days.gapsfile import read_gaps
from agent.recording.listening.standby import StandbySettings
from agent.recording.listening.voice import VoiceGate
from agent.recording.recorder import Recorder
from agent.recording.segment import PART, FinishedSegment, SegmentStart, discard_never_begun
from agent.recording.segment_factory import SegmentFactory
from agent.recording.session_in_hand import Unattended
from agent.recording.storage_watch import StorageWatch
from agent.recording.triggers import Schedule, trigger_for
from agent.timing.known_time import KnownTime
from agent.zone import zone

KINDS = ["absent", "absent", "hangs", "skips", "suspend", "step", "full", "eio", "mute", "manual"]
"""What befalls a recorder."""
ASKED_KINDS = ["absent", "absent", "hangs", "skips", "suspend", "step"]
"""Without what ends a recording that a person asked for: a mute, a full card, a failing one."""


@dataclass
class Life:
    """A recorder's folder, the machine around it, and the dice."""

    seed: int
    diary: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.world = World()
        self.folder = Path(tempfile.mkdtemp(prefix="life", dir="/dev/shm"))
        for name in ("recording", "outbox", "sent", "damaged"):
            (self.folder / name).mkdir()
        self.boots: dict[str, BootClock] = {}
        self.mode = self.rng.choice(["continuous", "continuous", "schedule", "manual", "voice"])
        self.asking = Asking(self.world, self.rng, self._ms)
        self.settings = RecordingConfig(
            mode=self.mode,  # type: ignore[arg-type] # one of its values
            segment_seconds=self.rng.choice([10, 20, 60]),
            min_seconds=self.rng.choice([0, 0, 3]),
            schedule=(
                ScheduleWindow(start=f"*/{EVERY_MINUTES} * * * *", minutes=WINDOW_MINUTES, timezone="UTC"),
            ),
        )
        self.standby = StandbySettings(_gate if self.mode == "voice" else None)
        self.heard: list[Listened] = []
        self.deaths: list[int] = []
        """When a run ended without a word, likewise."""
        self.asleep_ms = 0.0
        self.was_asked = False
        """A person asked for more than the settings want."""
        self.first_start: int | None = None
        self.last_stop = self.told_to_stop = 0
        """When the newest run had ended, and when it was told to, if it was."""
        self.clock = self._boot()
        self.zone_name = zone_near_midnight(self.rng)
        self.zone = zone(self.zone_name)

    def close(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.folder)

    def live(self, runs: int) -> None:
        """Run, die and run again; the last run ends in order."""
        for number in range(runs):
            self._run(is_last=number == runs - 1)
        self.card = Card(self.rng, self.clock)
        self.card.slow = 0.0
        self._deliver(1.0)

    # what happens

    def _boot(self) -> BootClock:
        name = f"boot-{len(self.boots)}"
        right_after = self.rng.choice([0.0, 0.0, self.rng.uniform(0, 60)])
        if self.mode != "continuous":
            # By a wrong clock it would record at other times than the judge expects, and of an absence between two
            # boots that cannot be compared only what was asked for is known.
            right_after = 0.0
        clock = BootClock(self.world, name, self.rng.uniform(-5000, 5000), right_after)
        self.boots[name] = clock
        return clock

    def _run(self, *, is_last: bool) -> None:
        rng, world = self.rng, self.world
        card = self.card = Card(rng, self.clock)
        recorder, downtime = self._started(card)
        now = self._ms()
        memory = Memory(self.folder, Disk(), Files(self.folder, Disk()))
        self.asking.run_begins(knows_of_earlier=memory.asked_before is not None)
        self.first_start = now if self.first_start is None else self.first_start
        world.forget_plans()
        ending = (
            "stop" if is_last else rng.choice(["stop", "kill", "kill", "step", "power", "power", "reboot"])
        )
        seconds = rng.choice([rng.uniform(0, 1), rng.uniform(0, 20), rng.uniform(0, 70)])
        if is_last:
            seconds += 10
        self._plan(recorder, card, seconds, ending, is_last=is_last)
        self.diary.append(
            f"{now}: run, {ending} after {seconds:.3f} s, {self.clock.boot_id} {self.clock.machine()}"
        )
        try:
            recorder.run()
        except Died:
            self.diary.append(f"{self._ms()}: dead")
            self.deaths.append(self._ms())
        for _ in range(2):
            if self.mode == "schedule" and not card.is_dead:
                downtime.judge()
        if not card.is_dead and self.rng.random() < 0.5:
            self._close_days()
        self.last_stop = self._ms()
        booted_ms = self.clock.booted_ms - BEGINNING_MS
        self.heard += [
            Listened(booted_ms + 1000 * begin, booted_ms + 1000 * end, is_voice, 1000 * lost)
            for begin, end, is_voice, lost in self.microphone.heard
        ]
        self.asking.run_ended(recorder)
        world.forget_plans()
        if ending == "power":
            card.cut_power()
        if (
            not read_gaps(self.folder)
            and Memory(self.folder, Disk(), Files(self.folder, Disk())).until is None
        ):
            self.first_start = None  # it died before its first durable step
        world.pass_until(
            world.now + rng.choice([rng.uniform(0, 0.05), rng.uniform(0, 5), rng.uniform(0, 1500)])
        )
        if ending in {"power", "reboot"}:
            self.clock = self._boot()
            world.pass_until(world.now + rng.uniform(1, 20))

    def _started(self, card: Card) -> tuple[Recorder, Downtime]:
        """Start a recorder while the deliverer is at work too: before, between, and after what the recorder reads."""
        self._deliver(self.rng.choice([0.0, 0.5]))
        recorder, downtime = self._recorder(card)
        self._deliver(self.rng.choice([0.0, 0.5]))
        if self.rng.random() < 0.5:
            downtime.poll()
            self._deliver(0.3)
        return recorder, downtime

    def _plan(self, recorder: Recorder, card: Card, seconds: float, ending: str, *, is_last: bool) -> None:
        rng, world = self.rng, self.world

        def die() -> None:
            card.is_dead = True
            raise Died

        if ending in {"stop", "reboot"}:
            world.after(seconds, lambda: self._tell_to_stop(recorder))
        elif ending == "step":
            card.steps_left = rng.choice([rng.randrange(30), rng.randrange(200)])
            world.after(600, die)
        else:
            world.after(seconds, die)
        if rng.random() < 0.5:
            world.after(rng.uniform(0, seconds), self._close_days)
        self.asleep: list[tuple[float, float]] = []
        for _ in range(0 if is_last else rng.choice([0, 0, 1, 2, 4])):
            self._befall(recorder, card, rng.uniform(0, seconds))
        if self.mode == "manual":
            self.asking.plan(recorder, seconds, self.asleep)

    def _tell_to_stop(self, recorder: Recorder) -> None:
        self.told_to_stop = self._ms()
        self.asking.run_is_told_to_end()
        recorder.stop()

    def _befall(self, recorder: Recorder, card: Card, at: float) -> None:
        rng, world, microphone = self.rng, self.world, self.microphone
        length = rng.choice([rng.uniform(0, 1), rng.uniform(0, 30)])
        what = rng.choice(ASKED_KINDS if self.mode == "manual" else KINDS)
        self.diary.append(f"    {what} at {at:.3f} for {length:.3f} s")

        def during(target: object, name: str) -> None:
            world.after(at, lambda: setattr(target, name, True))
            world.after(at + length, lambda: setattr(target, name, False))

        # A window that closes while a loss of samples is not certain yet leaves the lost ones out.
        longest_skip = 30.0 if self.mode == "continuous" else 0.5
        if what == "absent":
            during(microphone, "is_absent")
        elif what == "hangs":
            during(microphone, "hangs")
        elif what == "skips":
            world.after(at, lambda: setattr(microphone, "skips_seconds", min(length, longest_skip)))
        elif what == "suspend":
            clock = self.clock
            self.asleep.append((at, at + 0.2 + length))
            self.asleep_ms += 1000 * (0.2 + length)
            world.after(at, lambda: clock.suspend(0.2 + length))
        elif what == "step":
            clock = self.clock
            world.after(at, lambda: setattr(clock, "wrong_by", rng.uniform(-1e6, 1e6)))
        elif what == "full":
            during(card, "is_full")
        elif what == "eio":
            world.after(at, lambda: setattr(card, "fails_once", True))
        elif what == "mute":
            world.after(at, lambda: void(recorder.turn_mute(on=True)))
            world.after(at + length, lambda: void(recorder.turn_mute(on=False)))
        else:
            self.was_asked = True
            request = ManualRequest(seconds=max(0.1, length))
            world.after(at, lambda: recorder.start(request))

    def _recorder(self, card: Card) -> tuple[Recorder, Downtime]:
        """Build what records, as the process does."""
        clock = self.clock
        files = Files(self.folder, card)
        memory = Memory(self.folder, card, files)
        time = KnownTime(clock, clock.boot_id, clock.machine)
        self.memory, self.time = memory, time
        gap_tracker = GapTracker(GapLog(self.folder, card), time.elapsed_ms, lambda: memory.last_number + 1)
        wall = lambda: time.at_boot(clock.boottime()).wall_ms / 1000  # noqa: E731 - as the wiring has it
        downtime = Downtime(files, memory, time, gap_tracker, self.settings)
        discard_never_begun(files.recording, Disk())
        schedule = Schedule(self.settings, wall) if self.mode == "schedule" else None
        windows = windows_of(schedule) if schedule is not None else None
        self.days = days = DayBook(self.folder, card, memory, time, self.zone, windows)
        sink = OutboxFolder(self.folder, card, memory, days=days)
        sink.is_of_recorder = True
        config = Config(
            recording=self.settings,
            opus=OpusConfig(complexity=0),
            storage=StorageConfig(flush_seconds=self.rng.choice([1, 5])),
        )
        environment = Environment(config, self.folder, clock=clock, disk=card, boot_id=clock.boot_id)
        segment_factory = SegmentFactory(environment, sink, time, gap_tracker)
        self.microphone = Microphone(clock, self.rng)
        self.board = environment.board

        def before(began: Instant) -> None:
            downtime.recount(days, began)
            downtime.note(began)

        recorder = Recorder(
            environment,
            self.microphone,
            trigger_for(self.settings, wall),
            segment_factory,
            StorageWatch(
                sink.recording_folder,
                clock.monotonic,
                lambda _was_full: AgentError("full") if card.is_full else None,
            ),
            Unattended(Mute(self.folder, card), before, self.standby),
        )
        return recorder, downtime

    def _close_days(self) -> None:
        """Do what the process does every some seconds; in a thread of its own it would wait for the other."""
        if self.memory.changing.locked():
            return
        now = self.time.at_boot(self.clock.boottime())
        with contextlib.suppress(OSError):
            self.days.close(now, is_recording=self.board.snapshot.recording is not None)

    def live_on(self, hours: float) -> None:
        """Let time pass after the last run, until all its days are over."""
        self.world.pass_until(self.world.now + 3600 * hours)
        self._close_days()

    def _deliver(self, chance: float) -> None:
        """Do what the deliverer does with files that nobody holds: repair, finish, move on."""
        disk = Disk()
        files = Files(self.folder, disk)
        for name in names(files.recording):
            if name.endswith(PART) and self.rng.random() < chance:
                _repair(files.recording / name, files, disk)
        for name in names(files.outbox):
            if name.endswith(SIDECAR + TEMPORARY) and self.rng.random() < chance:
                entry = sidecar.read(files.outbox / name)
                if entry is not None and (files.outbox / entry.audio_name).exists():
                    files.finish_move(files.outbox / "none", entry)
            elif name.endswith(AUDIO) and self.rng.random() < chance / 2:
                entry = sidecar.read((files.outbox / name).with_suffix(SIDECAR))
                if entry is not None:
                    files.move_to_sent(entry)

    def true_ms(self, instant: Instant) -> int:
        """Return a moment in true time, in milliseconds since the life began."""
        return self.boots[instant.boot_id].booted_ms - BEGINNING_MS + instant.boot_ms

    def _ms(self) -> int:
        return round(self.world.now * 1000)


def _gate() -> VoiceGate:
    return VoiceGate(FrameFeed(Loud(), RATE, 1), RATE, 1, pre_roll=2, hang=3)


def _repair(path: Path, files: Files, disk: Disk) -> None:
    """Repair a torn file as the deliverer does."""
    try:
        plan = plan_repair(path)
        start = SegmentStart.from_tags(read_summary(path).tags)
    except (Unrepairable, NotOggOpus):
        path.unlink()
        return
    assert start is not None
    if not plan.already_complete:
        carry_out(plan, path, disk)
    samples = plan.samples_48k * start.sample_rate // 48000
    segment = FinishedSegment(start, path, samples, plan.truncate_to, digest(path), not plan.already_complete)
    files.finish(segment, Entry.of(segment))
