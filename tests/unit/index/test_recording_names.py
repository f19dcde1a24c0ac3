"""A file's name is a claim like any other: what cannot be a number of ours is none."""

import uuid
from pathlib import Path

import msgspec
import pytest
from lifetimes import closed_after_test
from opusfile import write_opus
from simulated import SimulatedClock

from agent.bounds import NAMED_SEQUENCE
from agent.clock import Instant
from agent.disk import Disk
from agent.index.outbox import Outbox
from agent.index.reconcile import Reconciler
from agent.outbox import sidecar
from agent.outbox.files import Files
from agent.process.state_directory import StateDirectory
from agent.recorder.account.memory import FILE, Memory
from agent.recording.filename import number_of, start_of_stem
from agent.recording.segment import START

ID = str(uuid.UUID(int=7))
BEYOND = ["99999999999999999", str(2**53), str(2**53 - 1), "1" * 100, str(NAMED_SEQUENCE + 1)]
ODD = [*BEYOND, "-5", "+5", "5e3", "", "²", "٣", " 7"]


@pytest.mark.parametrize("number", ODD)
@pytest.mark.parametrize("folder", ["recording", "outbox", "sent", "damaged"])
def test_a_number_beyond_belief_in_a_name_is_not_counted_on(tmp_path: Path, folder: str, number: str) -> None:
    """Beside such a name the next number is one more than the largest that can be, and its sidecar can be read."""
    StateDirectory(tmp_path, tmp_path).create()
    (tmp_path / folder / f"20260101T000000Z-{number}-{ID}.opus").touch()
    (tmp_path / "sent" / f"20260101T000000Z-00000041-{ID}.opus").touch()
    memory = Memory(tmp_path, Disk(), Files(tmp_path, Disk()))

    assert memory.next_number() == 42
    assert Memory(tmp_path, Disk(), Files(tmp_path, Disk())).last_number == 42


def test_the_largest_number_that_is_believed_leaves_room_for_more(tmp_path: Path) -> None:
    """From there on numbers go on, also over a restart."""
    StateDirectory(tmp_path, tmp_path).create()
    (tmp_path / "sent" / f"20260101T000000Z-{NAMED_SEQUENCE}-{ID}.opus").touch()
    for further in (1, 2, 3):
        memory = Memory(tmp_path, Disk(), Files(tmp_path, Disk()))
        assert memory.next_number() == NAMED_SEQUENCE + further


@pytest.mark.parametrize("number", [2**53, 2**53 - 1, 10**17, 0, -1])
def test_a_memory_of_a_number_that_leads_nowhere_is_none(tmp_path: Path, number: int) -> None:
    """A ``recorder.json`` that would run out of numbers counts as lost: the files tell the next one."""
    StateDirectory(tmp_path, tmp_path).create()
    (tmp_path / FILE).write_text(msgspec.json.encode({"next_seq": number}).decode())
    assert Memory(tmp_path, Disk(), Files(tmp_path, Disk())).next_number() == 1


@pytest.mark.parametrize(
    "stamp", ["20260101T000000Z", "01010101T000000Z", "99991231T235959Z", "20260101T000000"]
)
@pytest.mark.parametrize("number", [*ODD, "00000007", "7", str(NAMED_SEQUENCE)])
def test_what_a_name_tells_can_be_written_and_read_back(stamp: str, number: str) -> None:
    """Whatever a stem claims, either it is none of ours, or its facts pass their own door and give the same stem."""
    stem = f"{stamp}-{number}-{ID}"
    start = start_of_stem(stem)
    if start is None:
        assert (stamp, number) not in {
            ("20260101T000000Z", "00000007"),
            ("20260101T000000Z", str(NAMED_SEQUENCE)),
        }
    else:
        assert START.decode(msgspec.json.encode(start)).stem == stem
        assert number_of(stem) == start.seq == int(number)


def test_a_file_of_use_to_nobody_with_such_a_name_is_set_aside(tmp_path: Path) -> None:
    """Reconciliation ends, keeps the file in ``damaged/``, and leaves no sidecar that nobody can read."""
    StateDirectory(tmp_path, tmp_path).create()
    clock = SimulatedClock()
    outbox = Outbox(tmp_path, Disk(), lambda: Instant(round(clock.wall() * 1000), "boot", 1, "ntp"))
    closed_after_test(outbox)
    for number in BEYOND:
        torn = tmp_path / "recording" / f"20260101T000000Z-{number}-{ID}.opus.part"
        write_opus(torn, bytes(32_000), 16_000, 1)

    Reconciler(outbox, Disk()).run()

    assert not list((tmp_path / "recording").iterdir())
    assert len(list((tmp_path / "damaged").glob("*.opus"))) == len(BEYOND)
    assert all(sidecar.read(path) is not None for path in tmp_path.glob("*/*.json"))
