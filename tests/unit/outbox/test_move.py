"""The move of a delivered recording to ``sent/``: what a power cut may leave of it, and which syncs it makes when."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting_recordings import AUDIO, agent, fill

from agent.deliverer.wiring import DelivererWiring
from agent.disk import Disk
from agent.index.outbox import Outbox
from agent.index.reconcile import Reconciler
from agent.outbox import sidecar
from agent.outbox.entry import Entry, Status

NO_SERVER = "http://127.0.0.1:1"


def asked(parts: DelivererWiring) -> Entry:
    """Return a recording whose completion was asked for."""
    fill(parts, 1)
    (entry,) = parts.outbox.store.all()
    now = parts.outbox.now_ms()
    entry = parts.outbox.advance(entry, "created", request={}, remote_id="rec_1", created_ms=now)
    return parts.outbox.advance(entry, "asked", stored_ms=now, asked_ms=now)


def back_to(parts: DelivererWiring, entry: Entry) -> None:
    """Leave the row as it was before: its commit was not synced."""
    parts.outbox.store.delete(entry.id, "test")
    parts.outbox.store.insert([entry], "test")


def forgotten(parts: DelivererWiring, entry: Entry) -> None:
    """Lose the row."""
    parts.outbox.store.delete(entry.id, "test")


def kept(_parts: DelivererWiring, _entry: Entry) -> None:
    """Leave the row as it is."""


@pytest.mark.parametrize("row", [kept, back_to, forgotten])
@pytest.mark.parametrize("old_name", ["", ".json", ".json.tmp"])
def test_old_names_beside_the_new_ones_go(
    tmp_path: Path, row: Callable[[DelivererWiring, Entry], None], old_name: str
) -> None:
    """Whatever the row says: delivered once, verified as it was, and nothing of it is left in the outbox."""
    with agent(tmp_path, NO_SERVER) as (parts, _):
        entry = asked(parts)
        files = parts.outbox.files
        old = shutil.copy(files.outbox / entry.sidecar_name, tmp_path / "old.json")
        done = parts.outbox.complete(entry, verified=True)
        (files.outbox / entry.audio_name).hardlink_to(files.audio(done))
        if old_name:
            shutil.copy(old, files.outbox / f"{entry.stem}{old_name}")
        row(parts, entry)
        Reconciler(parts.outbox, Disk()).run()
        (after,) = parts.outbox.store.all()
        assert (after.status, after.verified) == (Status.UPLOADED, True)
        assert list(files.outbox.iterdir()) == []
        assert files.audio(after).read_bytes() == AUDIO
        assert sidecar.read(files.sent / entry.sidecar_name) == done
        assert Reconciler(parts.outbox, Disk(), dry_run=True).run().sentences == []


@pytest.mark.parametrize("row", [kept, back_to, forgotten])
def test_a_sidecar_that_stayed_behind_says_delivered_in_the_end(
    tmp_path: Path, row: Callable[[DelivererWiring, Entry], None]
) -> None:
    """The audio has moved, and the sidecar is the one from before: it follows, and says what the folder says."""
    with agent(tmp_path, NO_SERVER) as (parts, _):
        entry = asked(parts)
        files = parts.outbox.files
        old = (files.outbox / entry.sidecar_name).read_bytes()
        parts.outbox.complete(entry, verified=True)
        (files.sent / entry.sidecar_name).rename(files.outbox / entry.sidecar_name)
        (files.outbox / entry.sidecar_name).write_bytes(old)
        row(parts, entry)
        Reconciler(parts.outbox, Disk()).run()
        (after,) = parts.outbox.store.all()
        assert after.status is Status.UPLOADED
        written = sidecar.read(files.sent / entry.sidecar_name)
        assert written is not None
        assert written.completed_ms == after.completed_ms
        assert list(files.outbox.iterdir()) == []


def test_a_row_behind_its_sidecar_learns_all_it_says(tmp_path: Path) -> None:
    """A power cut takes the unsynced commits of a delivery: start, media row and what was asked for come back."""
    with agent(tmp_path, NO_SERVER) as (parts, _):
        fill(parts, 1)
        (before,) = parts.outbox.store.all()
        entry = asked_with_media(parts.outbox, before)
        back_to(parts, before)
        Reconciler(parts.outbox, Disk()).run()
        (after,) = parts.outbox.store.all()
        assert after == entry


def asked_with_media(outbox: Outbox, entry: Entry) -> Entry:
    """Return the recording with all that a delivery learns until completion is asked for."""
    now = outbox.now_ms()
    started = type(entry.started)(
        boot_id=entry.started.boot_id, boot_ms=entry.started.boot_ms, wall_ms=now, clock="server"
    )
    facts = {"request": {"name": "x"}, "remote_id": "rec_1", "created_ms": now, "media_id": "med_1"}
    return outbox.advance(entry, "asked", started=started, stored_ms=now, asked_ms=now, **facts)


def test_what_comes_next_syncs_the_folder_that_was_left(tmp_path: Path) -> None:
    """The outbox is synced by the next sidecar there, once by ``settle``, and before a prune; else not again."""
    steps: list[str] = []
    with agent(tmp_path, NO_SERVER) as (parts, _):
        fill(parts, 2)
        files = parts.outbox.files
        files._disk = Disk(steps.append)
        first, second = parts.outbox.store.all()
        files.settle()
        assert steps == ["sent.sync_outbox"]
        parts.outbox.complete(first, verified=True)
        assert steps[-1] == "sent.sync_target"
        parts.outbox.advance(second, "created", request={}, remote_id="rec_2", created_ms=1)
        steps.clear()
        files.settle()
        assert steps == []
        done = parts.outbox.complete(parts.outbox.store.get(second.id) or second, verified=True)
        steps.clear()
        parts.outbox.prune(done)
        assert steps[0] == "sent.sync_outbox"
