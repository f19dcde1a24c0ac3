"""The gap log keeps every gap, once, through a disk that fails, a torn line and a restart."""

import errno
import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from agent.cli.root import root
from agent.clock import Instant
from agent.disk import Disk
from agent.errors import AgentError
from agent.gaps import log as gap_log_module
from agent.gaps.log import DELIVERY_FILE, FILE, Cause, Gap, GapLog, older
from agent.gaps.tracker import GapTracker
from agent.recording.days.gapsfile import MOST_BYTES, end_of_gap_log, last_gaps, let_go, read_gaps


def at(seconds: float, boot: str = "boot-1", clock: str = "ntp") -> Instant:
    return Instant(round((1_767_225_600 + seconds) * 1000), boot, round(seconds * 1000), clock)


def apart(start: Instant, end: Instant) -> int | None:
    return end.boot_ms - start.boot_ms if start.boot_id == end.boot_id else None


def test_a_gap_that_closes_stands_once(tmp_path: Path) -> None:
    """It is there, without an end, from the moment it opens; closed it has both ends and its length."""
    gap_tracker = GapTracker(GapLog(tmp_path, Disk()), apart)

    gap_tracker.lost(Cause.NO_MICROPHONE, at(10))
    assert read_gaps(tmp_path) == [Gap(Cause.NO_MICROPHONE, at(10))]
    gap_tracker.lost(Cause.NO_MICROPHONE, at(12))
    gap_tracker.ended(at(15.5))

    assert read_gaps(tmp_path) == [Gap(Cause.NO_MICROPHONE, at(10), at(15.5), 5500)]
    assert not gap_tracker.is_open


def test_another_cause_ends_one_gap_and_begins_the_next(tmp_path: Path) -> None:
    """Together they have every second once."""
    gap_tracker = GapTracker(GapLog(tmp_path, Disk()), apart)

    gap_tracker.lost(Cause.NO_MICROPHONE, at(10))
    gap_tracker.lost(Cause.STORAGE, at(40))
    gap_tracker.ended(at(100))
    gap_tracker.ended(at(200))

    assert [(gap.cause, gap.milliseconds) for gap in read_gaps(tmp_path)] == [
        (Cause.NO_MICROPHONE, 30_000),
        (Cause.STORAGE, 60_000),
    ]


def test_what_the_disk_refused_is_written_with_the_next(tmp_path: Path) -> None:
    """Three gaps that met a full disk, at the write or at the sync, are there once it takes one again."""
    failing = {"ledger.write", "ledger.sync"}

    def observe(step: str) -> None:
        if step in failing:
            raise OSError(errno.ENOSPC, "injected")

    gap_tracker = GapTracker(GapLog(tmp_path, Disk(observe)), apart)
    gap_tracker.note(Cause.OVERFLOW, at(1), 100, "a")
    failing.remove("ledger.write")
    gap_tracker.note(Cause.OVERFLOW, at(2), 200, "a")
    failing.clear()
    gap_tracker.note(Cause.OVERFLOW, at(3), 300, "b")

    assert [gap.milliseconds for gap in read_gaps(tmp_path)] == [100, 200, 300]


def test_a_torn_line_costs_no_other(tmp_path: Path) -> None:
    """A power cut in the middle of a line: the lines before stand, and the next is not glued to the torn one."""
    gap_log = GapLog(tmp_path, Disk())
    gap_log.add(Gap(Cause.STORAGE, at(1), at(2), 1000))
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"cause":"overf')

    GapLog(tmp_path, Disk()).add(Gap(Cause.STORAGE, at(5), at(6), 1000))

    assert [gap.start for gap in read_gaps(tmp_path)] == [at(1), at(5)]


def test_equal_moments_of_two_boots_are_two_gaps(tmp_path: Path) -> None:
    """Gaps are told apart by boot; one between boots has no length until the clock is known."""
    gap_tracker = GapTracker(GapLog(tmp_path, Disk()), apart)

    gap_tracker.lost(Cause.NOT_RUNNING, at(10))
    gap_tracker.ended(at(20, "boot-2", "unsynchronized"))
    gap_tracker.lost(Cause.NOT_RUNNING, at(10, "boot-2"))
    gap_tracker.ended(at(11, "boot-2"))

    assert [gap.milliseconds for gap in read_gaps(tmp_path)] == [None, 1000]


def test_no_gap_log_is_no_gap(tmp_path: Path) -> None:
    """A new state directory has none."""
    assert read_gaps(tmp_path) == []


LINE = msgspec.json.encode(Gap(Cause.DELETED, at(0), None, 1, "old")) + b"\n"
NEWEST = Gap(Cause.DROPPED, at(9), None, 1234, "new")


@pytest.mark.parametrize("file", [FILE, DELIVERY_FILE])
def test_of_a_gap_log_that_is_too_large_the_newest_gaps_are_read(tmp_path: Path, file: str) -> None:
    """Beyond 64 MiB, however it came to be, its end still tells; what was dropped is found too."""
    with (tmp_path / file).open("wb") as gap_log:
        gap_log.truncate(MOST_BYTES + (1 << 20))
        gap_log.seek(0, 2)
        gap_log.write(b"\n" + LINE + msgspec.json.encode(NEWEST) + b"\n")

    assert read_gaps(tmp_path) == [Gap(Cause.DELETED, at(0), None, 1, "old"), NEWEST]
    assert let_go(tmp_path, {Cause.DROPPED}) == {"new"}


def test_a_gap_log_begins_a_new_file_before_it_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files of a bounded size hold the newest gaps; one that opened in one and closed in the other stands once."""
    monkeypatch.setattr(gap_log_module, "ROTATE_BYTES", 3_000)
    gap_log = GapLog(tmp_path, Disk())
    for number in range(120):
        gap_log.add(Gap(Cause.NO_MICROPHONE, at(number)))
        end = end_of_gap_log(tmp_path)
        newest = [gap.start for gap in last_gaps(tmp_path, end)][-5:]
        assert newest == [at(each) for each in range(max(0, number - 4), number + 1)]
        gap_log.add(Gap(Cause.NO_MICROPHONE, at(number), at(number + 0.5), 500))
        assert last_gaps(tmp_path, end)[-1] == Gap(Cause.NO_MICROPHONE, at(number))

    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {FILE, older(Path(FILE)).name}
    assert max(sizes.values()) < 3_300
    gaps = read_gaps(tmp_path)
    assert [gap.start for gap in gaps] == [at(number) for number in range(120 - len(gaps), 120)]
    assert {gap.milliseconds for gap in gaps} == {500}
    assert len(gaps) > 10


def test_a_gap_log_that_cannot_be_moved_grows_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a folder in the place of the older file no gap is lost."""
    monkeypatch.setattr(gap_log_module, "ROTATE_BYTES", 1000)
    older(tmp_path / FILE).mkdir()
    gap_log = GapLog(tmp_path, Disk())
    for number in range(50):
        assert gap_log.add(Gap(Cause.STORAGE, at(number), None, 1))
    assert len(read_gaps(tmp_path)) == 50


@pytest.mark.parametrize("name", [FILE, older(Path(DELIVERY_FILE)).name])
def test_gaps_that_cannot_be_read_are_not_called_none(tmp_path: Path, name: str) -> None:
    """Beside a gap log that is no file, the command shows what it can read, names the other, and fails."""
    GapLog(tmp_path, Disk(), DELIVERY_FILE if name == FILE else FILE).add(NEWEST)
    (tmp_path / name).mkdir()
    (tmp_path / "settings.toml").write_text(f'[storage]\ndirectory = "{tmp_path}"\n')
    result = CliRunner().invoke(root, ["--config", str(tmp_path / "settings.toml"), "gaps", "--json"])

    assert json.loads(result.stdout)[0]["recording_id"] == "new"
    assert isinstance(result.exception, AgentError)
    assert f"{name} is not a regular file" in str(result.exception)


def test_what_was_to_be_dropped_and_stayed_is_not_gone(tmp_path: Path) -> None:
    """A drop that was taken back is no gap, and nobody takes the recording for dropped."""
    gap_log = GapLog(tmp_path, Disk())
    gap_log.add(NEWEST)
    assert let_go(tmp_path, {Cause.DROPPED}) == {"new"}
    assert let_go(tmp_path, {Cause.DELETED}) == set()
    gap_log.add(Gap(Cause.DROPPED, at(9), None, 0, "new"))
    assert let_go(tmp_path, {Cause.DROPPED}) == set()
    assert read_gaps(tmp_path) == []
