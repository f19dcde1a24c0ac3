"""A Finish, a Move, a drop or a prune that was cut short: its facts are found again, wherever they lie."""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from recording_setup import RecordingSetup
from simulated import Script, ScriptedSource

from agent.disk import Disk
from agent.gaps.log import Cause
from agent.index.reconcile import Reconciler
from agent.outbox.entry import Entry, Status
from agent.outbox.files import SIDECAR, TEMPORARY
from agent.recording.recorder import Recorder
from agent.recording.segment import PART, lock_open_file
from agent.small_file import open_file

HERE, BOTH, THERE = (True, False), (True, True), (False, True)
"""Where a name is after a power cut in a move: before it, at both ends, or behind it."""


@pytest.fixture
def setup(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> RecordingSetup:
    """Give a copy of a state directory with two recordings that wait, and what works on it."""
    card = tmp_path_factory.getbasetemp() / "waiting"
    if not card.exists():
        card.mkdir()
        fill(RecordingSetup(card))
    return RecordingSetup(shutil.copytree(card, tmp_path / "card"))


def fill(setup: RecordingSetup) -> None:
    """Record twice, and note what only the sidecars tell, not the tags."""

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(2)
        recorder.stop()

    for _ in range(2):
        setup.record(script)
    for entry in setup.entries:
        setup.outbox.note(entry, "created", remote_id=f"rec_{entry.seq}", created_ms=1)
    setup.outbox.close()


def without_index(setup: RecordingSetup) -> RecordingSetup:
    """Begin anew where the index is lost."""
    setup.outbox.close()
    for file in setup.folder.glob("outbox.db*"):
        file.unlink()
    return RecordingSetup(setup.folder)


def reconciled(setup: RecordingSetup) -> None:
    """Bring files and index together once, and show that a second time finds nothing."""
    setup.repair()
    assert Reconciler(setup.outbox, Disk(), dry_run=True).run().sentences == []


def facts(entry: Entry) -> tuple[object, ...]:
    """Return what must not be lost of one."""
    return (
        entry.id,
        entry.seq,
        entry.status,
        entry.remote_id,
        entry.completed_ms,
        entry.parked_reason,
        entry.gap_ms,
    )


def places(setup: RecordingSetup, entry: Entry) -> set[str]:
    """Return where anything of a recording lies."""
    files = setup.outbox.files
    folders = (files.recording, files.outbox, files.sent, files.damaged)
    found = (path for folder in folders for path in folder.glob(f"{entry.stem}*"))
    return {f"{path.parent.name}/{path.name.removeprefix(entry.stem)}" for path in found}


@pytest.mark.parametrize("index_lost", [False, True])
@pytest.mark.parametrize("sidecar", [HERE, BOTH, THERE])
@pytest.mark.parametrize("audio", [HERE, BOTH, THERE])
@pytest.mark.parametrize("to", ["sent", "damaged"])
def test_a_move_that_a_power_cut_has_left_anywhere_is_finished(
    setup: RecordingSetup, to: str, audio: tuple[bool, bool], sidecar: tuple[bool, bool], index_lost: bool
) -> None:
    """Either name before, at both ends of or behind its move: one look, and all lies where the facts say."""
    entry = setup.entries[0]
    if to == "sent":
        setup.outbox.complete(entry, verified=True)
    else:
        setup.outbox.damaged(entry, "its audio is not what was recorded")
    before = setup.entries
    for name, (is_here, is_there) in ((entry.audio_name, audio), (entry.sidecar_name, sidecar)):
        here, there = setup.folder / "outbox" / name, setup.folder / to / name
        if is_here:
            here.hardlink_to(there)
        if not is_there:
            there.unlink()
    if index_lost:
        setup = without_index(setup)
    reconciled(setup)
    assert [*map(facts, setup.entries)] == [*map(facts, before)]
    assert places(setup, entry) == {f"{to}/.opus", f"{to}/.json"}


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("audio", [HERE, BOTH, THERE])
def test_a_finish_that_a_power_cut_has_left_anywhere_is_done(
    setup: RecordingSetup, audio: tuple[bool, bool], named: bool
) -> None:
    """The audio before, at both ends of or behind its move, its sidecar named or not: one look makes the pair."""
    entry = setup.entries[0]
    files = setup.outbox.files
    if not named:
        unfinished(setup, entry, moved=True)
    there, (is_here, is_there) = files.outbox / entry.audio_name, audio
    if is_here:
        (files.recording / f"{entry.audio_name}{PART}").hardlink_to(there)
    if not is_there:
        there.unlink()
    setup = without_index(setup)
    reconciled(setup)
    assert facts(setup.entries[0]) == facts(entry)
    assert places(setup, entry) == {"outbox/.opus", "outbox/.json"}


@pytest.mark.parametrize("moved", [False, True])
def test_a_recorder_that_dies_while_files_are_looked_through_loses_no_facts(
    setup: RecordingSetup, moved: bool
) -> None:
    """A Finish that ends between two looks of one reconciliation keeps its sidecar, and is finished."""
    entry = setup.entries[0]
    before = unfinished(setup, entry, moved=moved)
    setup = without_index(setup)
    files = setup.outbox.files
    (files.recording / f"a{TEMPORARY}").touch()
    with ExitStack() as recorder:
        held = recorder.enter_context(open_file(before, os.O_RDWR))
        assert lock_open_file(held)

        def dies(step: str) -> None:
            if step == "reconcile.unlink_temporary":
                recorder.close()

        setup.disk_fails = dies
        setup.repair()
    setup.arrivals.poll()
    assert facts(setup.entries[0]) == facts(entry)
    assert places(setup, entry) == {"outbox/.opus", "outbox/.json"}
    reconciled(setup)


def unfinished(setup: RecordingSetup, entry: Entry, *, moved: bool) -> Path:
    """Undo the last renames of a Finish, its second or both; return where the audio is."""
    files = setup.outbox.files
    own = files.outbox / entry.sidecar_name
    own.rename(own.with_name(f"{own.name}{TEMPORARY}"))
    audio = files.outbox / entry.audio_name
    return audio if moved else audio.rename(files.recording / f"{entry.audio_name}{PART}")


def test_a_finish_cut_short_while_the_deliverer_runs_is_done(setup: RecordingSetup) -> None:
    """Audio that has moved without its sidecar waits for no restart: looking for arrivals is enough."""
    entry = setup.entries[0]
    audio = unfinished(setup, entry, moved=True)
    setup = without_index(setup)
    for folder in ("outbox", "sent"):
        os.utime(setup.folder / folder, (1, 1))  # long ago
    with open_file(audio, os.O_RDWR) as recorder:
        assert lock_open_file(recorder)
        setup.arrivals.poll()
        assert entry.id not in [each.id for each in setup.entries]
    setup.arrivals.poll()
    assert facts(setup.entries[0]) == facts(entry)
    assert places(setup, entry) == {"outbox/.opus", "outbox/.json"}


def test_what_is_dropped_while_files_are_looked_through_is_not_called_lost(setup: RecordingSetup) -> None:
    """The gap log is read again for each recording whose audio is missing: the recorder makes room meanwhile."""
    one, other = setup.entries
    drop(setup, one)

    def drops(step: str) -> None:
        if step == "prune.commit" and setup.outbox.files.audio(other).exists():
            drop(setup, other)

    setup.disk_fails = drops
    reconciled(setup)
    assert setup.entries == []
    assert places(setup, one) == places(setup, other) == set()


def drop(setup: RecordingSetup, entry: Entry) -> None:
    """Drop a recording, killed before its sidecar is gone."""
    setup.gap_tracker.note(Cause.DROPPED, entry.started, entry.duration_ms, entry.id)
    setup.outbox.files.audio(entry).unlink()


@pytest.mark.parametrize("index_lost", [False, True])
def test_what_was_pruned_in_the_middle_of_its_move_is_not_called_lost(
    setup: RecordingSetup, index_lost: bool
) -> None:
    """Delivered, its audio moved and pruned by the recorder, its sidecar not moved: nothing is left, nothing parked."""
    entry = setup.outbox.complete(setup.entries[0], verified=True)
    assert entry.status is Status.UPLOADED
    files = setup.outbox.files
    files.audio(entry).with_suffix(SIDECAR).rename(files.outbox / entry.sidecar_name)
    files.audio(entry).unlink()
    if index_lost:
        setup = without_index(setup)
    reconciled(setup)
    assert [each.id for each in setup.entries] == [setup.entries[-1].id] != [entry.id]
    assert places(setup, entry) == set()
