"""``status.json`` and the other files that are published: when they are written, who may read them, when they go."""

import json
import os
import stat
import subprocess
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from acceptance import Machine, wait_for
from logcapture import capture_logs
from publishing import hearing, publish, running, samples
from speech import speech, write_wav
from test_daemon import STATUS, assert_shape
from waiting_recordings import fill

import agent.status.published_file
from agent.deliverer.publisher import Publisher
from agent.process.state_directory import Process
from agent.status.board import CredentialState, Delivery, RecordingNow, State, Transfer

GROUP = 4242


def test_status_json_is_the_document_of_status(tmp_path: Path) -> None:
    """It keeps the contract of ``status --json``, says when it was written, and holds what the deliverer says."""
    with (
        running(tmp_path) as (delivers, _),
        hearing(tmp_path) as (parts, its_clock),
        delivers.state.lock(Process.DELIVERER),
    ):
        fill(delivers, 2)
        Publisher(delivers).turn()
        parts.board.report(state=State.RECORDING, recording=RecordingNow("a", 0, 1000))
        documents = {name: document for _, name, document in publish(parts, its_clock, 1)}
    document = documents["status.json"]
    assert set(documents) == {"status.json", "recorder-status.json"}
    assert document["delivery"] == "running"
    assert_shape(document, {**STATUS, "written_at": str})
    assert (document["state"], document["pending"]) == ("recording", 2)
    assert document["written_at"].startswith("2026-01-01T00:00:0")


def test_it_is_written_every_ten_seconds_and_at_a_change(tmp_path: Path) -> None:
    """Levels, lengths and bytes that move cost no writes; a change of what is shown is written within 2 s."""
    with hearing(tmp_path) as (parts, clock):
        board = parts.board
        for tenth in range(600):
            now = RecordingNow("a", 0, tenth * 100, tenth)
            clock.after(tenth / 10, partial(board.report, recording=now))
        clock.after(47, lambda: board.report(state=State.NO_MICROPHONE))
        clock.after(53, lambda: board.report(state=State.STORAGE_FULL))
        written = publish(parts, clock, 60)
    times = [round(at) for at, name, _ in written if name == "status.json"]
    assert len(times) == 8, times
    changes = {0, 47, 48, 53, 54}
    assert all(later - earlier in {9, 10} or later in changes for earlier, later in pairwise(times[1:])), (
        times
    )
    states = [document["state"] for _, name, document in written if name == "status.json"]
    assert states[-2:] == ["no_microphone", "storage_full"]


def test_delivery_json_is_written_at_a_change(tmp_path: Path) -> None:
    """An upload that begins is told at the next look, how far it is with the next that is due."""
    with running(tmp_path) as (parts, clock):
        board = parts.board
        clock.after(20.5, lambda: board.report(transfer=Transfer("b", 1, 2)))
        clock.after(22.5, lambda: board.report(transfer=Transfer("b", 2, 2)))
        clock.after(33, lambda: board.report(credential=CredentialState.REFUSED))
        written = publish(parts, clock, 40)
    times = [round(at) for at, _, _ in written]
    assert times == [0, 10, 20, 22, 32, 34], times
    assert written[3][2]["transfer"]["sent_bytes"] == 1


def test_the_files_go_when_the_recorder_stops(tmp_path: Path) -> None:
    """What is left behind would say "recording" of a recorder that does not run."""
    metrics = tmp_path / "out.prom"
    with running(tmp_path, metrics=str(metrics)) as (parts, clock):
        written = publish(parts, clock, 31)
        assert [round(at) for at, name, _ in written if name == "out.prom"] == [0, 30]
        assert not metrics.exists()
        assert list(parts.state.runtime.iterdir()) == []


@pytest.mark.root
def test_the_group_may_read_status_json_and_everybody_the_metrics(tmp_path: Path) -> None:
    """Modes hold whatever the umask; delivery.json gets the group of its folder."""
    modes: dict[str, tuple[int, int]] = {}
    metrics = tmp_path / "out.prom"
    before = os.umask(0o077)
    try:
        with running(tmp_path, metrics=str(metrics)) as (parts, clock):
            os.chown(parts.state.runtime, -1, GROUP)

            def look() -> None:
                for path in (parts.state.runtime / "delivery.json", metrics):
                    status = path.stat()
                    modes[path.name] = (stat.S_IMODE(status.st_mode), status.st_gid)

            clock.after(1, look)
            publish(parts, clock, 3)
    finally:
        os.umask(before)
    assert modes["delivery.json"] == (0o640, GROUP)
    assert modes["out.prom"][0] == 0o644


def test_a_directory_that_is_missing_is_one_warning(tmp_path: Path) -> None:
    """The first failure is a warning, its repeats are for debugging, and what is mended is said and written."""
    folder = tmp_path / "later"
    with running(tmp_path, metrics=str(folder / "out.prom")) as (parts, clock), capture_logs() as logs:
        clock.after(100, folder.mkdir)
        written = publish(parts, clock, 125)
    told = [(line["log_level"], line["action"]) for line in logs if line["action"].startswith("publish")]
    assert told == [
        ("warning", "publish_failed"),
        *[("debug", "publish_failed")] * 3,
        ("info", "publish_restored"),
    ]
    assert [round(at) for at, name, _ in written if name == "out.prom"] == [120]
    assert sum(name == "delivery.json" for _, name, _ in written) == 13


def test_an_index_that_cannot_be_read_ends_nothing(tmp_path: Path) -> None:
    """The status goes on without what the index says, which is unknown; figures are a warning; the thread goes on."""
    with running(tmp_path, metrics=str(tmp_path / "out.prom")) as (parts, clock), capture_logs() as logs:
        publisher = Publisher(parts, battery=lambda: None)
        clock.after(5, parts.outbox.store.close)
        written = publish(parts, clock, 60, publisher)
        now = publisher.status()
        parts.outbox.store._open()  # so that the parts can be closed
    assert now.delivery is Delivery.FAILING
    assert now.waiting is not None
    assert "the index failed" in now.waiting.reason
    newest = [document for _, name, document in written if name == "delivery.json"][-1]
    assert "the index failed" in newest["failing"]
    assert len([name for _, name, _ in written if name == "delivery.json"]) >= 6
    assert not [line for line in logs if line["log_level"] == "error"]


def test_it_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails half way leaves what was there, and no rubbish beside it."""
    path = tmp_path / "a.json"
    agent.status.published_file.replace(path, b"first\n", 0o640)

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fchmod", fails)
    with pytest.raises(OSError, match="No space"):
        agent.status.published_file.replace(path, b"second\n", 0o640)
    assert (path.read_text(), [each.name for each in tmp_path.iterdir()]) == ("first\n", ["a.json"])


def test_a_daemon_publishes(tmp_path: Path) -> None:
    """A real daemon keeps both files, a clean stop takes them away, and status.json is what ``status`` answers."""
    machine = Machine(tmp_path / "machine")
    run, metrics = tmp_path / "run", tmp_path / "out.prom"
    run.mkdir(mode=0o750)
    machine.environment["RUNTIME_DIRECTORY"] = str(run)
    wav = write_wav(tmp_path / "a.wav", 16_000, 1, speech(16_000, 1, 32_000))
    machine.configure(audio={"input": f"file:{wav}?loop"}, metrics={"file": str(metrics)})
    file = run / "status.json"
    with machine.popen("run", stderr=subprocess.PIPE) as process:
        try:
            wait_for(lambda: file.exists() and json.loads(file.read_text())["state"] == "recording")
            wait_for(
                lambda: metrics.exists() and samples(metrics.read_text())["recorder_agent_recording"] == 1
            )
            asked = machine.ok("status", "--json").json
            assert set(json.loads(file.read_text())) == {*asked, "written_at"}
            process.terminate()
            assert process.wait(10) == 0
            assert (file.exists(), metrics.exists()) == (False, False)
        finally:
            process.kill()
