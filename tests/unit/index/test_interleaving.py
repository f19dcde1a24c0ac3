"""Recorder and deliverer on one outbox, their durable steps interleaved by chance: nothing lost, nothing twice.

Each is a thread that may do a step only when it is its turn; the seed decides whose turn it is, at every named step of
the file layer and of the index. Between two steps the other does as much as chance gives it.
"""

import contextlib
import os
import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from simulated import SimulatedClock

import agent.index.outbox
import agent.index.repair
from agent.clock import Instant
from agent.config.schema import StorageConfig
from agent.disk import Disk
from agent.gaps.log import Cause, GapLog
from agent.gaps.tracker import GapTracker
from agent.host.reserve_file import ReserveFile
from agent.host.storage import DiskUsage
from agent.index.arrivals import arrivals_of
from agent.index.outbox import Outbox
from agent.index.reconcile import Reconciler
from agent.outbox.entry import Status
from agent.outbox.files import Files
from agent.process.state_directory import MEMORY, StateDirectory
from agent.recorder import space
from agent.recorder.account.memory import Memory
from agent.recorder.sink import OutboxFolder
from agent.recorder.space import RoomKeeper
from agent.recording.days.gapsfile import read_gaps
from agent.recording.segment import PART, FinishedSegment, SegmentStart, lock_open_file

STEPS = int(os.environ.get("INTERLEAVED_STEPS", "4000"))
MOST_LIVES = 10
"""So many are lived until one had a recording dropped in it."""
SEED = int(os.environ.get("INTERLEAVED_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
BUSY = 0.05
"""How often the deliverer has something to deliver by: less often than is recorded, so that some must be dropped."""
KEPT = 8
"""How many recordings the card has room for."""
PATIENCE = 60.0


class Killed(BaseException):
    """One of the two was killed at this step, and does nothing any more."""


class Baton:
    """Lets one of two threads do one step at a time; ``kills``: how often a step is the last one of its process."""

    def __init__(self, seed: int, steps: int, kills: float = 0.0) -> None:
        self._rng = random.Random(seed)
        self._kills = kills
        self.is_dead = [False, False]
        self.killed_at: set[str] = set()
        self._turn = threading.Condition()
        self._whose = 0
        self._left = steps
        self.ended = [True, True]

    @property
    def is_over(self) -> bool:
        """Whether all steps are done; what was begun is ended all the same."""
        return self._left <= 0 or any(self.ended)

    def step(self, me: int, name: str = "") -> None:
        """Hand the turn on by chance, and wait for one's own; Killed where it ends here."""
        with self._turn:
            if self.is_dead[me]:
                raise Killed
            if self.ended[1 - me]:
                return
            if name and self._rng.random() < self._kills:
                self.is_dead[me] = True
                self.killed_at.add(name)
                raise Killed
            self._left -= 1
            self._whose = me if self.ended[1 - me] else self._rng.randrange(2)
            self._turn.notify_all()
            assert self._turn.wait_for(lambda: self._whose == me or self.ended[1 - me], PATIENCE)

    def end(self, me: int) -> None:
        """Leave all turns to the other."""
        with self._turn:
            self.ended[me] = True
            self._turn.notify_all()


class World:
    """One outbox, the recorder's half and the deliverer's half of what works on it."""

    def __init__(self, folder: Path, seed: int, steps: int, kills: float = 0.0) -> None:
        StateDirectory(folder, folder).create()
        self.folder = folder
        self.clock = SimulatedClock()
        self.baton = Baton(seed, steps, kills)
        self.rng = [random.Random(f"{seed} {me}") for me in range(2)]
        self.made: set[str] = set()
        self.begun: set[str] = set()
        """What was about to be delivered, done or not."""
        self.delivered: set[str] = set()
        self.failures: list[BaseException] = []
        self.start_recorder()
        self.start_deliverer()

    def _disk(self, me: int) -> Disk:
        return Disk(lambda step: self.baton.step(me, step))

    def start_recorder(self) -> None:
        """Build what a recorder that has just been started has."""
        disk = self._disk(0)
        self.files = Files(self.folder, disk)
        self.sink = OutboxFolder(self.folder, disk, Memory(self.folder, disk, self.files))
        settings = StorageConfig(min_free_mb=0, max_mb=0, when_full="drop_oldest")
        gap_tracker = GapTracker(GapLog(self.folder, disk), lambda _a, _b: None)
        self.space = RoomKeeper(self.files, disk, settings, ReserveFile(self.folder, disk), gap_tracker)

    def start_deliverer(self) -> None:
        """Build what a deliverer that has just been started has."""
        disk = self._disk(1)
        self.outbox = Outbox(self.folder, disk, self.now)
        self.arrivals = arrivals_of(self.outbox, disk, wall_ns=lambda: 0)

    def _start_again(self, me: int) -> None:
        """Start one that was killed; it may be killed while it starts."""
        while True:
            self.baton.is_dead[me] = False
            try:
                if me == 0:
                    self.start_recorder()
                else:
                    self.outbox.store._connection.close()
                    self.start_deliverer()
                    self.arrivals.begin()
                    Reconciler(self.outbox, self._disk(1)).run()
            except Killed:
                continue
            return

    def now(self) -> Instant:
        """Return this moment."""
        return Instant(round(self.clock.wall() * 1000), "boot", round(self.clock.boottime() * 1000), "ntp")

    # the recorder

    def record(self) -> None:
        """Finish recordings, and make room for the next."""
        number = self.sink.next_sequence(self.now())
        identity = f"00000000-0000-7000-8000-{number:012d}"
        start = SegmentStart(
            id=identity,
            seq=number,
            session_id=identity,
            segment=1,
            mode="continuous",
            started=self.now(),
            sample_rate=16_000,
            channels=1,
        )
        part = self.files.recording / f"{start.stem}.opus{PART}"
        with part.open("wb") as file:
            assert lock_open_file(file)
            file.write(identity.encode())
            file.flush()
            self.sink.accept(FinishedSegment(start, part, 160_000, len(identity), "0" * 64))
            self.made.add(identity)
        self.clock.sleep(0.01)
        self.space.problem(False)

    # the deliverer

    def deliver(self) -> None:
        """Adopt, then take one recording through its last step, and now and then prune one."""
        self.arrivals.poll()
        for entry in islice(self.outbox.store.waiting(), 2 if self.rng[1].random() < BUSY else 0):
            with self.outbox.at_work(entry) as may:
                if may:
                    assert entry.id not in self.delivered
                    self.begun.add(entry.id)
                    assert self.outbox.files.audio(entry).read_bytes() == entry.id.encode()
                    self.outbox.complete(entry, verified=self.rng[1].random() < 0.5)
                    self.delivered.add(entry.id)
        if self.rng[1].random() < 0.2:
            done = next(self.outbox.store.delivered(verified=True), None)
            if done is not None:
                self.outbox.prune(done)

    def run(self) -> None:
        """Let both work until the steps are over."""
        threads = [
            threading.Thread(target=self._work, args=(me, work), daemon=True)
            for me, work in enumerate((self.record, self.deliver))
        ]
        self.baton.ended = [False, False]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

    def _work(self, me: int, work: Callable[[], None]) -> None:
        try:
            while not self.baton.is_over:
                try:
                    self.baton.step(me)
                    work()
                except Killed:
                    self._start_again(me)
        except BaseException as error:  # noqa: BLE001 - raised again where the test sees it
            self.failures.append(error)
        finally:
            self.baton.end(me)

    def disk_usage(self, _folder: Path) -> DiskUsage:
        """Stand in for statvfs: less than nothing is free while there are too many."""
        count = sum(len(list((self.folder / name).glob("*.opus"))) for name in ("outbox", "sent"))
        return DiskUsage(1_000_000 * (KEPT - count), 1 << 40)

    def judge(self) -> list[str]:
        """Return what is wrong once the deliverer has looked at all: one sentence each.

        A recorder that is killed between the line in the gap log and the file leaves one that may still be delivered;
        a file that it had not finished is no sound here, and is set aside.
        """
        is_killed = bool(self.baton.killed_at)
        self.arrivals.poll()
        Reconciler(self.outbox, Disk()).run()
        rows = {entry.id: entry for entry in self.outbox.store.all()}
        dropped = {gap.recording_id for gap in read_gaps(self.folder) if gap.cause is Cause.DROPPED}
        wrong = []
        for identity in self.made:
            if identity not in rows and identity not in dropped and identity not in self.begun:
                wrong.append(f"{identity} is lost")
            if identity in dropped and identity in self.delivered and not is_killed:
                wrong.append(f"{identity} was dropped and delivered")
        for entry in rows.values():
            if not self.outbox.files.audio(entry).exists():
                wrong.append(f"{entry.id} has a row and no file")
            if entry.status is Status.PARKED and entry.id in self.made:
                wrong.append(f"{entry.id} is parked: {entry.parked_reason}")
        for name in ("outbox", "sent", "damaged"):
            names = [path.name for path in (self.folder / name).iterdir()]
            wrong += [f"{name} has no row" for name in names if name[26:62] not in rows]
        return wrong


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder in which fsync costs nothing."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        yield Path(name)


def lived(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int, kills: float = 0.0
) -> tuple[World, list[str]]:
    """Let a world live through its steps; return it and what is wrong with it."""
    world = World(folder, seed, STEPS, kills)
    monkeypatch.setattr(space, "disk_usage", world.disk_usage)
    try:
        world.run()
        return world, world.judge()
    finally:
        world.outbox.close()


def test_nothing_is_lost_whatever_the_order_of_steps(
    in_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finish, adopt, deliver, move, prune and drop, step by step in an order of chance."""
    print(f"INTERLEAVED_SEED={SEED}")
    dropped = 0
    for life in range(MOST_LIVES):
        folder = in_memory / str(life)
        folder.mkdir()
        world, wrong = lived(folder, monkeypatch, SEED + life)
        print(f"{len(world.made)} made, {len(world.delivered)} delivered")
        assert wrong == []
        assert len(world.made) > 20
        assert world.delivered
        dropped += sum(gap.cause is Cause.DROPPED for gap in read_gaps(folder))
        if dropped:
            return
    pytest.fail("no life had a drop in it")


def test_nothing_is_lost_while_one_is_killed_and_the_other_goes_on(
    in_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either is killed at a hundredth of its steps, and started again in the middle of the other's work."""
    print(f"INTERLEAVED_SEED={SEED}")
    world, wrong = lived(in_memory, monkeypatch, SEED, kills=0.01)
    print(
        f"{len(world.made)} made, {len(world.delivered)} delivered, killed at {sorted(world.baton.killed_at)}"
    )
    assert wrong == []
    assert len(world.baton.killed_at) > 5


def test_without_the_locks_something_is_wrong(in_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: where each takes what it wants, some recording is dropped while it is delivered."""

    @contextlib.contextmanager
    def taken(audio: Path) -> Iterator[bool]:
        audio.stat()
        yield True

    for module in (space, agent.index.outbox, agent.index.repair):
        monkeypatch.setattr(module, "claimed", taken)
    for attempt in range(20):
        folder = in_memory / str(attempt)
        folder.mkdir()
        try:
            _, wrong = lived(folder, monkeypatch, SEED + attempt)
        except (OSError, AssertionError):
            return
        if wrong:
            return
    pytest.fail("nothing went wrong without the locks")
