"""What is kept for how long, and what gives way first when the card is full."""

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from lifetimes import closed_after_test
from logcapture import capture_logs
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
from agent.outbox.entry import Entry, changed
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
        self.arrivals.look()
        return entry

    @property
    def left(self) -> list[int]:
        """The sequence numbers that are still there, in the index and on the disk."""
        self.arrivals.look()
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


def test_delivered_recordings_go_when_their_hours_are_over(make: Make) -> None:
    """Verified ones after a day, unverified ones after a week, undelivered ones never."""
    card = make(keep_sent_hours=24, keep_unverified_hours=168)
    for state in ("verified", "unverified", "ready", "parked", "held"):
        card.add(state)

    for hours, left in (
        (23.9, [1, 2, 3, 4, 5]),
        (0.2, [2, 3, 4, 5]),
        (143.8, [2, 3, 4, 5]),
        (0.2, [3, 4, 5]),
    ):
        card.clock.sleep(hours * HOUR)
        card.retention.sweep()
        assert card.left == left
    card.clock.sleep(100_000 * HOUR / 1000)
    card.retention.sweep()
    assert card.left == [3, 4, 5]


def test_many_unverified_do_not_keep_the_verified_from_going(make: Make) -> None:
    """Behind six hundred that stay for a week, what was verified still goes after a day."""
    card = make()
    entry = card.add("unverified")
    rows = [_copy(entry, number) for number in range(100, 700)]
    card.outbox.store.insert(rows, "x")
    late = card.add("verified")
    card.clock.sleep(25 * HOUR)

    card.retention.sweep()

    assert card.outbox.store.get(late.id) is None
    assert card.outbox.store.get(rows[0].id) is not None


def test_ages_count_only_between_right_clocks(make: Make) -> None:
    """Delivered under an unknown clock, or looked at under one, nothing goes by age."""
    card = make()
    card.known = "unsynchronized"
    card.add("verified")
    card.known = "server"
    card.add("verified")
    card.clock.sleep(50_000 * 3.6)
    card.clock.step(5 * 365 * 24 * HOUR)
    card.known = "unsynchronized"
    card.retention.sweep()
    assert card.left == [1, 2]

    card.known = "ntp"
    card.retention.sweep()
    assert card.left == [1]


def test_verified_go_first_then_unverified_each_oldest_first(make: Make) -> None:
    """As many go as are needed, no undelivered one; then recording stops, and the ballast is given up."""
    card = make()
    for state in ("unverified", "ready", "verified", "unverified", "verified", "held"):
        card.add(state)
    card.retention.sweep()
    card.space.care_for_reserve()
    assert (card.folder / "ballast").exists()

    order = []
    for free in range(6, 1, -1):
        card.free = (10 + free) * SIZE - 1
        problem = card.space.problem(False)
        order.append(card.left)

    assert order[:4] == [[1, 2, 4, 5, 6], [1, 2, 4, 6], [2, 4, 6], [2, 6]]
    assert order[4] == [2, 6]
    assert problem is not None
    assert "is full" in problem.message
    assert not (card.folder / "ballast").exists()
    assert card.dropped == []


def test_a_full_card_counts_as_free_again_only_with_a_margin(make: Make) -> None:
    """At just min_free_mb recording that has stopped stays stopped; a megabyte more lets it go on."""
    card = make()
    card.free = 10 * SIZE
    assert card.space.problem(False) is None
    assert card.space.problem(True) is not None
    card.free = 11 * SIZE
    assert card.space.problem(True) is None


def test_drop_oldest_drops_the_oldest_and_held_ones_last(make: Make) -> None:
    """Each drop is in the gap log before it is gone."""
    card = make(when_full="drop_oldest")
    ids = [card.add(state).id for state in ("held", "ready", "parked", "ready", "held", "verified")]

    order = []
    for free in range(5, 0, -1):
        card.free = (10 + free) * SIZE
        assert card.space.problem(False) is None
        order.append(card.left)

    assert order == [[1, 2, 3, 4, 5], [1, 3, 4, 5], [1, 4, 5], [1, 5], [5]]
    assert card.dropped == [ids[1], ids[2], ids[3], ids[0]]


def test_what_will_not_go_is_passed_over_and_noted_as_lost_by_nobody(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file that the disk will not let go, delivered or not: the next gives way, and it is tried only once."""
    card = make(when_full="drop_oldest")
    stuck = [card.outbox.files.audio(card.add(state)) for state in ("verified", "ready")]
    ids = [card.add(state).id for state in ("verified", "ready", "ready")]
    tried: list[Path] = []
    unlink = Disk.unlink

    def refuses(disk: Disk, path: Path, step: str) -> None:
        if path in stuck:
            tried.append(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        unlink(disk, path, step)

    monkeypatch.setattr(Disk, "unlink", refuses)
    order = []
    with capture_logs() as logs:
        for free in (4, 3, 2):
            card.free = (10 + free) * SIZE
            assert card.space.problem(False) is None
            order.append(card.left)
        card.free = 11 * SIZE
        assert card.space.problem(False) is not None

    assert order == [[1, 2, 4, 5], [1, 2, 5], [1, 2]]
    assert card.dropped == ids[1:]
    assert tried == stuck
    assert [line["path"] for line in logs if line["action"] == "prune_failed"] == [
        str(path) for path in stuck
    ]


def _refusing(number: int) -> Callable[[Path, str], None]:
    def refuse(path: Path, _step: str) -> None:
        raise OSError(number, os.strerror(number), str(path))

    return refuse


def test_what_would_not_go_is_tried_again_later(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that was mended meanwhile lets its recordings go, without a restart; 60 files are not tried at once."""
    card = make(when_full="drop_oldest")
    for _ in range(60):
        card.add("verified")
    card.free = 10 * SIZE
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(card.disk, "unlink", _refusing(errno.EIO))
        for _ in range(4):
            assert card.space.problem(False) is not None
    levels = [line["log_level"] for line in logs if line["action"] == "prune_failed"]
    assert (len(levels), levels.count("warning")) == (60, 1)

    assert card.space.problem(False) is not None
    card.clock.sleep(space.AGAIN_SECONDS + 1)
    assert card.space.problem(False) is None
    assert len(card.left) == 60 - space.AT_ONCE


def test_a_card_that_is_read_only_is_called_so(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is to blame for EROFS: the sentence names it, and all are tried again at the next question."""
    card = make()
    card.add("verified")
    card.free = 10 * SIZE
    with monkeypatch.context() as patch:
        patch.setattr(card.disk, "unlink", _refusing(errno.EROFS))
        with pytest.raises(OSError, match="Read-only file system"):
            card.space.problem(False)
    assert card.space.problem(False) is None
    assert card.left == []


@pytest.mark.parametrize("kind", ["folder", "link", "fifo"])
@pytest.mark.parametrize("place", ["sent", "outbox"])
def test_what_is_no_file_stops_no_recording(make: Make, kind: str, place: str) -> None:
    """A folder, a link or a FIFO with the name of a recording stays where it is; a recording gives way instead."""
    card = make(when_full="drop_oldest")
    card.add("verified")
    card.add("ready")
    odd = card.folder / place / "20200101T000000Z-000000-x.opus"
    if kind == "folder":
        odd.mkdir()
    elif kind == "link":
        odd.symlink_to(card.folder / "elsewhere")
    else:
        os.mkfifo(odd)
    for left in (1, 0):
        card.free = (11 + left) * SIZE  # the odd one stays, and the test's card counts it
        assert card.space.problem(False) is None
        assert len([path for path in card.folder.glob("*/*.opus") if path != odd]) == left
    assert odd.is_symlink() or odd.exists()


def test_max_mb_bounds_what_recordings_take(make: Make) -> None:
    """Ten of a megabyte and a limit of six: the oldest delivered go; the sentence names the limit."""
    card = make(max_mb=6)
    for state in ["verified"] * 5 + ["ready"] * 5:
        card.add(state)
    card.retention.sweep()
    assert card.left == [5, 6, 7, 8, 9, 10]
    for _ in range(3):
        card.add("ready")
    problem = card.space.problem(False)
    assert card.left == [6, 7, 8, 9, 10, 11, 12, 13]
    assert problem is not None
    assert "storage.max_mb allows 6" in problem.message


def test_the_recorder_waits_for_a_few_files_only(make: Make) -> None:
    """With a hundred files too many it goes on after twenty-five; its next questions and the sweep take the rest."""
    card = make()
    for _ in range(60):
        card.add("verified")
    card.free = 20 * SIZE
    assert card.space.problem(False) is None
    assert len(card.left) == 60 - space.AT_ONCE
    card.retention.sweep()
    assert len(card.left) == 10


def test_an_index_that_fails_does_not_stop_recording(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """While making room the index may fail: with room on the card recording goes on, without it the sentence comes."""
    card = make(max_mb=1)

    def broken() -> int:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(card.outbox.store, "total_bytes", broken)
    assert card.space.problem(False) is None


def _copy(entry: Entry, number: int) -> Entry:
    """Return a row like this one."""
    return changed(entry, id=f"00000000-0000-7000-8000-{number:012d}", seq=number, stem=f"x-{number}")
