"""The ledger keeps every gap, once, through a disk that fails, a torn line and a restart."""

import errno
from pathlib import Path

from agent.host.disk import Disk
from agent.recording.clock import Instant
from agent.recording.coverage import Coverage
from agent.recording.ledger import FILE, Cause, Gap, Ledger, read_gaps


def at(seconds: float, boot: str = "boot-1", clock: str = "ntp") -> Instant:
    return Instant(round((1_767_225_600 + seconds) * 1000), boot, round(seconds * 1000), clock)


def apart(start: Instant, end: Instant) -> int | None:
    return end.boot_ms - start.boot_ms if start.boot_id == end.boot_id else None


def test_a_gap_that_closes_stands_once(tmp_path: Path) -> None:
    """It is there, without an end, from the moment it opens; closed it has both ends and its length."""
    coverage = Coverage(Ledger(tmp_path, Disk()), apart)

    coverage.lost(Cause.NO_MICROPHONE, at(10))
    assert read_gaps(tmp_path) == [Gap(Cause.NO_MICROPHONE, at(10))]
    coverage.lost(Cause.NO_MICROPHONE, at(12))
    coverage.ended(at(15.5))

    assert read_gaps(tmp_path) == [Gap(Cause.NO_MICROPHONE, at(10), at(15.5), 5500)]
    assert not coverage.is_open


def test_another_cause_ends_one_gap_and_begins_the_next(tmp_path: Path) -> None:
    """Together they have every second once."""
    coverage = Coverage(Ledger(tmp_path, Disk()), apart)

    coverage.lost(Cause.NO_MICROPHONE, at(10))
    coverage.lost(Cause.STORAGE, at(40))
    coverage.ended(at(100))
    coverage.ended(at(200))

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

    coverage = Coverage(Ledger(tmp_path, Disk(observe)), apart)
    coverage.note(Cause.OVERFLOW, at(1), 100, "a")
    failing.remove("ledger.write")
    coverage.note(Cause.OVERFLOW, at(2), 200, "a")
    failing.clear()
    coverage.note(Cause.OVERFLOW, at(3), 300, "b")

    assert [gap.milliseconds for gap in read_gaps(tmp_path)] == [100, 200, 300]


def test_a_torn_line_costs_no_other(tmp_path: Path) -> None:
    """A power cut in the middle of a line: the lines before stand, and the next is not glued to the torn one."""
    ledger = Ledger(tmp_path, Disk())
    ledger.add(Gap(Cause.STORAGE, at(1), at(2), 1000))
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"cause":"overf')

    Ledger(tmp_path, Disk()).add(Gap(Cause.STORAGE, at(5), at(6), 1000))

    assert [gap.start for gap in read_gaps(tmp_path)] == [at(1), at(5)]


def test_equal_moments_of_two_boots_are_two_gaps(tmp_path: Path) -> None:
    """Gaps are told apart by boot; one between boots has no length until the clock is known."""
    coverage = Coverage(Ledger(tmp_path, Disk()), apart)

    coverage.lost(Cause.NOT_RUNNING, at(10))
    coverage.ended(at(20, "boot-2", "unsynchronized"))
    coverage.lost(Cause.NOT_RUNNING, at(10, "boot-2"))
    coverage.ended(at(11, "boot-2"))

    assert [gap.milliseconds for gap in read_gaps(tmp_path)] == [None, 1000]


def test_no_ledger_is_no_gap(tmp_path: Path) -> None:
    """A new state directory has none."""
    assert read_gaps(tmp_path) == []
