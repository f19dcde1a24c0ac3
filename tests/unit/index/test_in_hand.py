"""Whose a recording's file is when it cannot be opened."""

import contextlib
import errno
import fcntl
import os
import resource
from pathlib import Path

import pytest
from card_of_recordings import Card


def no_descriptors() -> list[int]:
    """Use up the descriptors of this process."""
    taken: list[int] = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    return taken


def test_without_a_descriptor_nothing_is_taken_for_ours(tmp_path: Path) -> None:
    """The recorder holds a file and is about to drop it: a deliverer that is out of descriptors leaves it alone."""
    card = Card(tmp_path)
    entry = card.add("ready")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with card.outbox.files.audio(entry).open("rb") as others:
        fcntl.flock(others, fcntl.LOCK_EX)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
        taken = no_descriptors()
        try:
            with card.outbox.in_hand(entry) as mine:
                pass
            card.outbox.prune(entry)
        finally:
            for descriptor in taken:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not mine
    assert card.left == [entry.seq]
    with card.outbox.in_hand(entry) as mine:
        assert mine


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENOENT, errno.ELOOP])
def test_a_file_that_nobody_can_open_is_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """So that it can be parked with its reason instead of being passed over for ever."""
    card = Card(tmp_path)
    entry = card.add("ready")

    def refuse(path: Path, _flags: int) -> int:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch:
        patch.setattr("agent.outbox.locks.os.open", refuse)
        with card.outbox.in_hand(entry) as mine:
            assert mine
