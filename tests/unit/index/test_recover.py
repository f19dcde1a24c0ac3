"""A recording parked as damaged whose file is what was recorded after all: ``queue retry`` sends it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from waiting_recordings import AUDIO, agent, fill

from agent.deliverer.wiring import DelivererWiring
from agent.disk import Disk
from agent.errors import AgentError
from agent.index.actions import retry
from agent.index.reconcile import Reconciler
from agent.outbox.entry import Entry, Status

NO_SERVER = "http://127.0.0.1:1"


class CutError(Exception):
    """The power is gone."""


def parked(parts: DelivererWiring) -> Entry:
    """Return a recording whose file could not be read when it was its turn."""
    fill(parts, 1)
    (entry,) = parts.outbox.store.all()
    parts.outbox.damaged(entry, "its audio file cannot be read (Input/output error)")
    return only(parts)


def only(parts: DelivererWiring) -> Entry:
    """Return the one recording of the index."""
    (entry,) = parts.outbox.store.all()
    return entry


@pytest.mark.parametrize("named", [True, False])
def test_a_file_that_can_be_read_again_is_sent(tmp_path: Path, named: bool) -> None:
    """Named or with all others: the recording waits again, its file and sidecar lie in the outbox."""
    with agent(tmp_path, NO_SERVER) as (parts, _):
        entry = parked(parts)
        assert entry.status is Status.PARKED
        assert retry(parts.outbox, [entry.id] if named else None) == [entry.id]
        after = only(parts)
        assert after.status is Status.READY
        assert parts.outbox.files.audio(after).read_bytes() == AUDIO
        assert list(parts.outbox.files.damaged.iterdir()) == []
        assert Reconciler(parts.outbox, Disk(), dry_run=True).run().sentences == []


@pytest.mark.parametrize("content", [AUDIO[:-1], AUDIO[:-1] + b"x", None])
def test_one_that_is_not_whole_stays(tmp_path: Path, content: bytes | None) -> None:
    """Too short, changed or missing: named it is refused with what to do; among all it is passed over."""
    with agent(tmp_path, NO_SERVER) as (parts, _):
        entry = parked(parts)
        audio = parts.outbox.files.audio(entry)
        audio.unlink()
        if content is not None:
            audio.write_bytes(content)
        with pytest.raises(AgentError, match="queue export"):
            retry(parts.outbox, [entry.id])
        assert retry(parts.outbox, None) == []
        assert only(parts).status is Status.PARKED


def cut_at(count: int) -> Callable[[str], None]:
    """Return an observer that ends the power at the n-th durable step."""
    left = [count]

    def observe(_step: str) -> None:
        left[0] -= 1
        if left[0] == -1:
            raise CutError

    return observe


@pytest.mark.parametrize("with_index", [True, False])
def test_a_power_cut_at_any_step_loses_nothing(tmp_path: Path, with_index: bool) -> None:
    """Files and index agree after the next start, also where the index is lost, and the recording can be retried."""
    for step in range(100):
        folder = tmp_path / str(step)
        with agent(folder, NO_SERVER) as (parts, _):
            entry = parked(parts)
            disk, files = Disk(cut_at(step)), parts.outbox.files
            files._disk = disk
            parts.outbox.store._disk = disk
            try:
                retry(parts.outbox, [entry.id])
            except CutError:
                whole = False
            else:
                whole = True
            parts.outbox.store._disk = Disk()  # what closes it is no part of this
        if not with_index:
            for file in (folder / "state").glob("outbox.db*"):
                file.unlink()
        with agent(folder, NO_SERVER) as (parts, _):
            Reconciler(parts.outbox, Disk()).run()
            after = only(parts)
            if after.status is Status.PARKED:
                assert retry(parts.outbox, [after.id]) == [after.id]
            assert parts.outbox.files.audio(only(parts)).read_bytes() == AUDIO
            assert Reconciler(parts.outbox, Disk(), dry_run=True).run().sentences == []
        if whole:
            assert step > 6
            return
    raise AssertionError("it never came to its end")
