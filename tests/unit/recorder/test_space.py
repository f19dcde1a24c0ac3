"""Room on the card, made by the recorder with files alone: what goes first, and when recording stops."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from card_of_recordings import SIZE, Make, make
from logcapture import capture_logs

from agent.disk import Disk
from agent.index.reconcile import Reconciler
from agent.recorder import space


def test_verified_go_first_then_unverified_each_oldest_first(make: Make) -> None:
    """As many go as are needed, no undelivered one; then recording stops, and the reserve file is released."""
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


def test_what_was_delivered_and_not_moved_is_no_loss(make: Make) -> None:
    """A deliverer killed between the last facts and the move: its recording gives way, and no gap log names it."""
    card = make(when_full="drop_oldest")
    files = card.outbox.files
    done, waiting = card.add("verified"), card.add("ready")
    for name in (done.audio_name, done.sidecar_name):
        (files.sent / name).rename(files.outbox / name)
    card.free = 11 * SIZE
    assert card.space.problem(False) is None
    assert [path.name for path in files.outbox.glob("*.opus")] == [waiting.audio_name]
    assert card.dropped == []
    Reconciler(card.outbox, Disk()).run()
    assert card.left == [waiting.seq]


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
