"""A state directory with recordings of a megabyte, on a card of the size that a test needs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from lifetimes import closed_after_test
from simulated import SimulatedClock

from agent.clock import Instant
from agent.config.schema import StorageConfig
from agent.disk import Disk
from agent.gaps.log import Cause, GapLog
from agent.gaps.tracker import GapTracker
from agent.host.reserve_file import ReserveFile
from agent.host.storage import DiskUsage, disk_usage
from agent.index import retention
from agent.index.arrivals import arrivals_of
from agent.index.outbox import Outbox
from agent.index.retention import Retention
from agent.outbox.entry import Entry
from agent.process.state_directory import StateDirectory
from agent.recorder import space
from agent.recorder.space import RoomKeeper
from agent.recording.days.gapsfile import read_gaps
from agent.recording.segment import PART, FinishedSegment, SegmentStart

HOUR = 3600.0


SIZE = 1_000_000


class Card:
    """A state directory with recordings of a megabyte, on a card whose free room the test sets."""

    def __init__(self, folder: Path, **settings: object) -> None:
        StateDirectory(folder, folder).create()
        self.folder = folder
        self.clock = SimulatedClock()
        self.known = "ntp"
        self.free = 1000 * SIZE
        self.disk = Disk()
        self.outbox = Outbox(folder, self.disk, self.now)
        closed_after_test(self.outbox)
        self.reserve_file = ReserveFile(folder, self.disk)
        self.gap_tracker = GapTracker(GapLog(folder, self.disk), lambda _a, _b: None)
        storage = StorageConfig(**settings)  # type: ignore[arg-type] # a test's own words
        self.retention = Retention(self.outbox, storage, self.now)
        self.space = RoomKeeper(
            self.outbox.files, self.disk, storage, self.reserve_file, self.gap_tracker, self.clock.monotonic
        )
        self.arrivals = arrivals_of(self.outbox, self.disk)

    def now(self) -> Instant:
        """Return this moment, as well as it is known."""
        boot_ms = round(self.clock.boottime() * 1000)
        return Instant(round(self.clock.wall() * 1000), "boot", boot_ms, self.known)

    def disk_usage(self, folder: Path) -> DiskUsage:
        """Stand in for statvfs: what was free, and what has been pruned since."""
        real = disk_usage(folder)
        files = [
            path for name in ("outbox", "sent", "damaged") for path in (self.folder / name).glob("*.opus")
        ]
        return real._replace(free=self.free - SIZE * len(files))

    def add(self, state: str) -> Entry:
        """Add a recording in a state of its delivery."""
        number = self.outbox.files.last_sequence() + 1
        start = SegmentStart(
            id=f"00000000-0000-7000-8000-{number:012d}",
            seq=number,
            session_id="s",
            segment=1,
            mode="continuous",
            started=self.now(),
            sample_rate=16_000,
            channels=1,
        )
        part = self.folder / "recording" / f"{start.stem}.opus{PART}"
        with part.open("wb") as file:
            file.truncate(SIZE)  # sparse
        entry = self.outbox.accept(FinishedSegment(start, part, 160_000, SIZE, "0" * 64))
        if state in {"verified", "unverified"}:
            entry = self.outbox.complete(entry, verified=state == "verified")
        elif state == "held":
            entry = self.outbox.note(entry, "held", held_ms=1)
        elif state == "parked":
            entry = self.outbox.park(entry, "refused")
        self.arrivals.poll()
        return entry

    @property
    def left(self) -> list[int]:
        """The sequence numbers that are still there, in the index and on the disk."""
        self.arrivals.poll()
        rows = {entry.seq for entry in self.outbox.store.all()}
        files = {
            int(path.name.split("-")[1])
            for name in ("outbox", "sent")
            for path in (self.folder / name).glob("*.opus")
        }
        assert rows == files
        return sorted(rows)

    @property
    def dropped(self) -> list[str | None]:
        """The recordings that the gap log says were dropped, in that order."""
        return [gap.recording_id for gap in read_gaps(self.folder) if gap.cause is Cause.DROPPED]


Make = Callable[..., Card]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a card; only statvfs is replaced, for a card of the size that the test needs."""

    def make_one(**settings: object) -> Card:
        card = Card(tmp_path, **{"min_free_mb": 10, **settings})
        for module in (retention, space):
            monkeypatch.setattr(module, "disk_usage", card.disk_usage)
        return card

    return make_one
