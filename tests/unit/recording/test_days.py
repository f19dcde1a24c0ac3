"""The sums of days: midnights, gaps by day, the file of a line a day, and what was delivered."""

import json
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from lifetimes import closed_after_test

from agent.clock import Instant, SystemClock
from agent.deliverer.daybook import DELIVERY_DAY, DeliveryDayBook
from agent.disk import Disk
from agent.gaps.log import Cause, Gap, GapLog
from agent.index.table.store import Store
from agent.outbox.entry import Entry, changed
from agent.outbox.files import Files
from agent.recorder.account.daybook import DAY_DECODER, DayBook
from agent.recorder.account.memory import Memory
from agent.recording.days import dayfile
from agent.recording.days.dayfile import DayFile, read_days
from agent.recording.days.days import DELIVERY_FILE, FILE, Day, Missing, begin_of, end_of, split, summed
from agent.timing.known_time import KnownTime

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3_600_000


def at(text: str) -> int:
    """Return a moment in Berlin in unix milliseconds."""
    return round(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp() * 1000)


def moment(text: str, boot: str = "boot", clock: str = "ntp") -> Instant:
    """Return a moment in Berlin; the boot was at the beginning of 2026."""
    return Instant(at(text), boot, at(text) - at("2026-01-01T00:00"), clock)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-06-01", 24), ("2026-10-25", 25)])
def test_a_day_is_from_midnight_to_midnight(day: str, hours: int) -> None:
    """A day of summer time's change is an hour shorter or longer, and a stretch over it is divided there."""
    begin = begin_of(date.fromisoformat(day), BERLIN)
    parts = dict(split(begin - 1, begin + hours * HOUR + 1, BERLIN))
    assert list(parts.values()) == [1, hours * HOUR, 1]


def test_a_date_that_a_zone_leaves_out_has_no_time() -> None:
    """Samoa had no 30 December 2011."""
    samoa = ZoneInfo("Pacific/Apia")
    begin = begin_of(date(2011, 12, 29), samoa)
    assert list(split(begin, begin + 48 * HOUR, samoa)) == [
        ("2011-12-29", 24 * HOUR),
        ("2011-12-31", 24 * HOUR),
    ]


def test_gaps_by_day() -> None:
    """Each cause by day: silence inside of files once, none of a dropped file, and nothing of what was removed."""
    gaps = [
        Gap(Cause.NOT_RUNNING, moment("2026-06-01T23:59"), moment("2026-06-02T00:02"), 180_000),
        Gap(Cause.OVERFLOW, moment("2026-06-02T10:00"), None, 500, "kept"),
        Gap(Cause.OVERFLOW, moment("2026-06-02T11:00"), None, 700, "short"),
        Gap(Cause.TOO_SHORT, moment("2026-06-02T11:00"), None, 2000, "short"),
        Gap(Cause.OVERFLOW, moment("2026-06-02T00:01"), None, 900, "torn"),
        Gap(Cause.DROPPED, moment("2026-06-02T12:00"), None, 600_000, "gone"),
        Gap(Cause.NO_MICROPHONE, moment("2026-06-02T23:00")),
    ]
    until = at("2026-06-03T01:00")
    missing = Missing(gaps, {}, BERLIN, since=0, until=until)
    second = summed(date(2026, 6, 2), HOUR, missing, BERLIN, since=0, until=until, mode="manual")
    assert missing.of("2026-06-01") == {Cause.NOT_RUNNING: 60_000}
    assert second.missing_ms == {
        Cause.NOT_RUNNING: 120_000,
        Cause.OVERFLOW: 500,
        Cause.TOO_SHORT: 2000,
        Cause.NO_MICROPHONE: HOUR,
    }
    assert (second.recorded_ms, second.silence_ms) == (HOUR - 500, 500)
    assert second.wanted_ms + second.not_wanted_ms == 24 * HOUR
    assert missing.of("2026-06-03") == {Cause.NO_MICROPHONE: HOUR}


def test_an_absence_over_windows_is_divided_as_the_calendar_has_them() -> None:
    """One line of the gap log stands for windows of several days; none of it gets lost in the division."""
    windows = [(at(f"2026-06-0{day}T08:00"), at(f"2026-06-0{day}T09:00")) for day in (1, 2, 3)]
    gap = Gap(Cause.NOT_RUNNING, moment("2026-06-01T08:00"), moment("2026-06-03T20:00"), 3 * HOUR)
    for calendar in (windows, []):
        found: list[tuple[int, int]] = calendar

        def windows_then(
            _begin: int, _end: int, found: list[tuple[int, int]] = found
        ) -> list[tuple[int, int]]:
            return found

        missing = Missing([gap], {}, BERLIN, since=0, until=at("2026-06-05T00:00"), windows=windows_then)
        days = [sum(missing.of(f"2026-06-0{day}").values()) for day in (1, 2, 3)]
        assert sum(days) == 3 * HOUR
        assert not calendar or days == [HOUR, HOUR, HOUR]


def test_the_last_line_of_a_date_counts(tmp_path: Path) -> None:
    """Torn and foreign lines are passed over, and what says nothing new is not written."""
    path = tmp_path / FILE
    file = DayFile(path, Disk(), DAY_DECODER)
    file.write([Day("2026-06-01", 1), Day("2026-06-02", 2)])
    with path.open("ab") as out:
        out.write(b'{"date": "2026-06-\xff"}\n[]\n{"date": "2026-06-03", "recor')
    again = DayFile(path, Disk(), DAY_DECODER)
    size = path.stat().st_size
    again.write([Day("2026-06-02", 2)])
    assert path.stat().st_size == size
    again.write([Day("2026-06-01", 5)])
    assert read_days(path, DAY_DECODER) == {
        "2026-06-01": Day("2026-06-01", 5),
        "2026-06-02": Day("2026-06-02", 2),
    }


def test_the_file_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old days go, and lines that a later one has replaced."""
    monkeypatch.setattr(dayfile, "MOST_DAYS", 10)
    monkeypatch.setattr(dayfile, "MOST_LINES", 15)
    path = tmp_path / FILE
    file = DayFile(path, Disk(), DAY_DECODER)
    for number in range(1, 31):
        file.write([Day(f"2026-06-{number:02d}", number)])
        file.write([Day(f"2026-06-{number:02d}", 2 * number)])
        assert len(path.read_bytes().splitlines()) <= 15
    assert list(read_days(path, DAY_DECODER)) == [f"2026-06-{number:02d}" for number in range(21, 31)]
    assert DayFile(path, Disk(), DAY_DECODER).days == file.days


def test_a_late_gap_gives_a_day_a_new_line(tmp_path: Path) -> None:
    """What the calendar could judge only days later counts for the day that it concerns; the files stay counted."""
    disk = Disk()
    files = Files(tmp_path, disk)
    for folder in (files.recording, files.outbox, files.sent, files.damaged):
        folder.mkdir()
    memory = Memory(tmp_path, disk, files)
    book = DayBook(tmp_path, disk, memory, KnownTime(SystemClock(), "boot", lambda: "ntp"), BERLIN)
    book.recount([], moment("2026-06-01T00:00"))
    book.add(1, moment("2026-06-01T10:00"), HOUR)
    book.close(moment("2026-06-03T12:00"), is_recording=False)
    assert book.days["2026-06-01"] == Day("2026-06-01", HOUR, 23 * HOUR)
    GapLog(tmp_path, disk).add(
        Gap(Cause.NOT_RUNNING, moment("2026-06-01T12:00"), moment("2026-06-01T14:00"), 2 * HOUR)
    )
    book.close(moment("2026-06-03T12:01"), is_recording=False)
    assert book.days["2026-06-01"] == Day("2026-06-01", HOUR, 21 * HOUR, {Cause.NOT_RUNNING: 2 * HOUR})
    assert memory.account.recorded == {}


def test_a_wrong_clock_ends_no_day(tmp_path: Path) -> None:
    """A machine that wakes in 1970 or in 2040 writes no lines; what it recorded counts once the time is known."""
    disk = Disk()
    files = Files(tmp_path, disk)
    for folder in (files.recording, files.outbox, files.sent, files.damaged):
        folder.mkdir()
    memory = Memory(tmp_path, disk, files)
    book = DayBook(tmp_path, disk, memory, KnownTime(SystemClock(), "boot", lambda: None), BERLIN)
    early = Instant(at("2040-01-01T00:00"), "boot", 60_000, "unsynchronized")
    book.recount([], early)
    book.add(1, early, 1000)
    book.add(2, Instant(early.wall_ms, "boot", 61_000, "unsynchronized"), 2000)
    book.close(Instant(at("2040-01-02T00:10"), "boot", 70_000, "unsynchronized"), is_recording=False)
    assert book.days == {}
    assert [part.milliseconds for part in memory.account.undated] == [3000]
    now = at("2026-06-01T12:00")
    book.close(Instant(now, "boot", HOUR, "ntp"), is_recording=False)
    assert memory.account.recorded == {"2026-06-01": 3000}
    book.close(Instant(now + 24 * HOUR, "boot", 25 * HOUR, "ntp"), is_recording=False)
    assert list(book.days) == ["2026-06-01"]


# what was delivered


def entry(number: int, started: str) -> Entry:
    """Return ten minutes of sound that begin at a moment in Berlin."""
    identity = f"01890000-0000-7000-8000-{number:012d}"
    return Entry(
        id=identity,
        seq=number,
        session_id=identity,
        segment=1,
        stem=f"20260601T000000Z-{number:08d}-{identity}",
        mode="continuous",
        started=moment(started),
        sample_rate=16000,
        channels=1,
        samples=16000 * 600,
        size_bytes=1,
        sha256="0" * 64,
    )


class Delivered:
    """A state directory whose clock stands where it is put."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = "2026-06-01T12:00"
        self.store = Store(folder / "outbox.db", Disk())
        closed_after_test(self.store)
        self.book = self.started()

    def started(self) -> DeliveryDayBook:
        """Return the book of a process that begins now."""
        return DeliveryDayBook(self.folder, Disk(), self.store.deliveries, lambda: moment(self.now), BERLIN)

    def deliver(self, recording: Entry, when: str) -> None:
        """Let the API confirm it."""
        self.store.update(changed(recording, completed_ms=at(when)), "complete.commit")

    def days(self) -> dict[str, tuple[int, int, int, int]]:
        """Return delivered and waiting by day."""
        found = read_days(self.folder / DELIVERY_FILE, DELIVERY_DAY)
        return {name: msgspec.structs.astuple(day)[1:] for name, day in found.items()}


def test_what_was_delivered_counts_once(tmp_path: Path) -> None:
    """Also when its row is pruned at once, when a fact of it is written again, and over a restart."""
    life = Delivered(tmp_path)
    life.book.close()
    first, second, third = (entry(number, "2026-06-01T10:00") for number in (1, 2, 3))
    life.store.insert([first, second, third], "adopt.commit")
    life.deliver(first, "2026-06-01T12:10")
    life.deliver(first, "2026-06-01T12:10")
    life.store.delete(first.id, "prune.commit")
    life.deliver(second, "2026-06-02T00:00")
    life.now = "2026-06-02T08:00"
    life.started().close()
    assert life.days()["2026-06-01"] == (1, 600_000, 2, 1_200_000)
    life.now = "2026-06-03T08:00"
    life.book.close()
    assert life.days()["2026-06-02"] == (1, 600_000, 1, 600_000)


@pytest.mark.parametrize("future", ["2060-01-01", "9999-12-31"])
def test_a_line_from_the_future_keeps_no_day_from_its_own(tmp_path: Path, future: str) -> None:
    """Neither the deliverer's nor the recorder's, and nothing fails at the end of the calendar."""
    numbers = ("recorded_ms", "delivered", "delivered_ms", "waiting", "waiting_ms")
    day = json.dumps({"date": future} | dict.fromkeys(numbers, 0)) + "\n"
    for name in (FILE, DELIVERY_FILE):
        (tmp_path / name).write_text(day)
    life = Delivered(tmp_path)
    life.book.close()
    assert "2026-05-31" in life.days()

    disk, files = Disk(), Files(tmp_path, Disk())
    for folder in (files.recording, files.outbox, files.sent, files.damaged):
        folder.mkdir()
    memory = Memory(tmp_path, disk, files)
    book = DayBook(tmp_path, disk, memory, KnownTime(SystemClock(), "boot", lambda: "ntp"), BERLIN)
    book.recount([], moment("2026-06-01T00:00"))
    book.add(1, moment("2026-06-01T10:00"), HOUR)
    book.close(moment("2026-06-02T12:00"), is_recording=False)
    assert book.days["2026-06-01"] == Day("2026-06-01", HOUR, 23 * HOUR)


def test_a_midnight_that_was_slept_through(tmp_path: Path) -> None:
    """What was recorded after it did not wait at it."""
    life = Delivered(tmp_path)
    life.book.close()
    life.store.insert([entry(1, "2026-06-01T23:00"), entry(2, "2026-06-02T01:00")], "adopt.commit")
    life.now = "2026-06-03T08:00"
    life.started().close()
    assert life.days()["2026-06-01"] == (0, 0, 1, 600_000)
    assert life.days()["2026-06-02"] == (0, 0, 2, 1_200_000)


def test_a_lost_index_counts_what_lies_in_sent(tmp_path: Path) -> None:
    """Rows that come back from sidecars bring the day's count with them."""
    life = Delivered(tmp_path)
    done = changed(entry(1, "2026-06-01T10:00"), completed_ms=at("2026-06-01T12:10"))
    life.store.insert([done], "reconcile.commit")
    end = end_of(date(2026, 6, 1), BERLIN)
    assert life.store.deliveries().between(begin_of(date(2026, 6, 1), BERLIN), end) == (1, 600_000)


def test_the_index_forgets_old_quarters(tmp_path: Path) -> None:
    """What a line says is not kept twice, nor what a wrong clock has dated."""
    life = Delivered(tmp_path)
    for number, when in enumerate(("2026-01-01T12:00", "2026-06-01T12:10", "2040-01-01T00:00"), 1):
        recording = entry(number, "2026-01-01T10:00")
        life.store.insert([recording], "adopt.commit")
        life.deliver(recording, when)
    life.now = "2026-06-02T08:00"
    life.book.close()
    assert life.store.deliveries().between(0, at("2050-01-01T00:00")) == (1, 600_000)
