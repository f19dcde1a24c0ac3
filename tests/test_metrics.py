"""``status.json`` and the figures for Prometheus, written beside whatever the recorder does."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from acceptance import Machine, wait_for
from logcapture import capture_logs
from prometheus_client.parser import text_string_to_metric_families
from speech import speech, write_wav
from test_daemon import STATUS, assert_shape
from waiting_room import LoopClock, fill

import agent.status.outlet
from agent.config import Config, MetricsConfig, StorageConfig
from agent.deliverer.publisher import Publisher
from agent.deliverer.wiring import DelivererWiring
from agent.host.battery import Battery
from agent.host.storage import Room
from agent.recorder.publisher import Publisher as RecorderPublisher
from agent.recorder.wiring import RecorderWiring
from agent.statedir import Process, StateDirectory
from agent.status.board import CredentialState, RecordingNow, State, Transfer
from agent.status.metrics import COUNTERS, Figures, exposition
from agent.status.table import Condition

GROUP = 4242
RECORDING: dict[str, Any] = {
    "state": "recording",
    "pending": 3,
    "parked": 2,
    "held": 1,
    "oldest_pending_at": "2026-01-02T03:04:05.500Z",
    "last_delivery_at": "2026-01-02T03:14:05.000Z",
    "online": True,
    "transfer": {"id": "a", "sent_bytes": 1, "total_bytes": 2},
    "microphone": {"state": "listening", "level_dbfs": -31.5},
    "storage": {"free_mb": 5, "full": False},
    "clock": {"synchronized": False},
    "credential": {"state": "accepted"},
    "version": "1.2.3",
}


@contextmanager
def running(
    folder: Path, *, metrics: str = "", runtime: bool = True
) -> Iterator[tuple[DelivererWiring, LoopClock]]:
    """Give the parts of a deliverer with a runtime directory, and their clock."""
    state = StateDirectory(folder / "state", folder / ("run" if runtime else "state"))
    state.create()
    state.runtime.mkdir(mode=0o750, exist_ok=True)
    config = Config(
        storage=StorageConfig(directory=str(state.path), min_free_mb=0), metrics=MetricsConfig(file=metrics)
    )
    clock = LoopClock()
    parts = DelivererWiring(config, state, {}, clock=clock, machine=lambda: "ntp")
    try:
        yield parts, clock
    finally:
        parts.close()


@contextmanager
def hearing(folder: Path) -> Iterator[tuple[RecorderWiring, LoopClock]]:
    """Give the parts of a recorder with a runtime directory, and their clock."""
    state = StateDirectory(folder / "state", folder / "run")
    state.create()
    state.runtime.mkdir(mode=0o750, exist_ok=True)
    clock = LoopClock()
    config = Config(storage=StorageConfig(directory=str(state.path), min_free_mb=0))
    yield RecorderWiring(config, state, clock=clock, machine=lambda: "ntp"), clock


def publish(
    parts: DelivererWiring | RecorderWiring,
    clock: LoopClock,
    seconds: float,
    publisher: Publisher | RecorderPublisher | None = None,
) -> list[tuple[float, str, dict[str, Any]]]:
    """Publish for some time; return when each file was written, its name, and what a document said."""
    written = []
    replace_file = agent.status.outlet.replace
    began = clock.monotonic()

    def noted(path: Path, content: bytes, mode: int) -> None:
        replace_file(path, content, mode)
        document = json.loads(path.read_text()) if path.suffix == ".json" else samples(path.read_text())
        written.append((clock.monotonic() - began, path.name, document))

    clock.stopping.clear()
    clock.end = began + seconds
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.status.outlet.replace", noted)
        if publisher is None and isinstance(parts, RecorderWiring):
            publisher = RecorderPublisher(parts)
        elif publisher is None and isinstance(parts, DelivererWiring):
            publisher = Publisher(parts, battery=lambda: None)
        assert publisher is not None
        publisher.run(clock.stopping)
    return written


def samples(text: str) -> dict[str, float]:
    """Return what Prometheus' own parser reads, ``name{label}`` by value."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(sample.labels.values())
            name = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert name not in found, name
            found[name] = sample.value
    return found


def figures(**changes: Any) -> Figures:
    """Return figures of a recorder that has everything."""
    known = Figures(
        RECORDING,
        Condition.RECORDING,
        started_unix=1_700_000_000.25,
        pending_bytes=12_345,
        room=Room(5_000_000, 32_000_000_000),
        battery=Battery(73, charging=True),
        counters={"recordings": 12, "delivered_recordings": 7, "delivered_bytes": 9_000_000},
    )
    return replace(known, **changes)


def test_every_figure_is_read_by_prometheus() -> None:
    """Each figure has its name, unit and value in the eyes of Prometheus' own parser."""
    read = samples(exposition()(figures()).decode())
    conditions = {name for name in read if name.startswith("recorder_agent_condition{")}
    assert len(conditions) == len(Condition)
    assert [name for name in conditions if read[name]] == ["recorder_agent_condition{recording}"]
    assert {name: value for name, value in read.items() if name not in conditions} == {
        "recorder_agent_build_info{1.2.3}": 1,
        "recorder_agent_queued_recordings{pending}": 3,
        "recorder_agent_queued_recordings{parked}": 2,
        "recorder_agent_queued_recordings{held}": 1,
        "recorder_agent_queued_bytes": 12_345,
        "recorder_agent_oldest_queued_timestamp_seconds": 1_767_323_045.5,
        "recorder_agent_last_delivery_timestamp_seconds": 1_767_323_645,
        "recorder_agent_start_timestamp_seconds": 1_700_000_000.25,
        "recorder_agent_recording": 1,
        "recorder_agent_uploading": 1,
        "recorder_agent_online": 1,
        "recorder_agent_credential_accepted": 1,
        "recorder_agent_clock_synchronized": 0,
        "recorder_agent_microphone_level_dbfs": -31.5,
        "recorder_agent_storage_free_bytes": 5_000_000,
        "recorder_agent_storage_size_bytes": 32_000_000_000,
        "recorder_agent_storage_full": 0,
        "recorder_agent_battery_charge_ratio": 0.73,
        "recorder_agent_battery_charging": 1,
        "recorder_agent_recordings_total": 12,
        "recorder_agent_delivered_recordings_total": 7,
        "recorder_agent_delivered_bytes_total": 9_000_000,
    }


def test_what_is_unknown_is_absent() -> None:
    """No battery, no room, no delivery, a closed microphone: no sample says 0 where nobody knows."""
    unknown = RECORDING | {
        "oldest_pending_at": None,
        "last_delivery_at": None,
        "online": None,
        "transfer": None,
        "microphone": {"state": "closed", "level_dbfs": -31.5},
        "storage": {"free_mb": None, "full": None},
        "clock": {"synchronized": None},
        "credential": {"state": "unknown"},
    }
    text = exposition()(Figures(unknown, Condition.IDLE, started_unix=1.0)).decode()
    names = {name.partition("{")[0].removeprefix("recorder_agent_") for name in samples(text)}
    assert names == {
        "build_info",
        "condition",
        "queued_recordings",
        "start_timestamp_seconds",
        "recording",
        "uploading",
    }


def test_every_family_has_help_and_the_type_its_name_promises() -> None:
    """Counters end in ``_total`` and nothing else does; each family says what it means."""
    text = exposition()(figures(counters=dict.fromkeys(COUNTERS, 1))).decode()
    for family in text_string_to_metric_families(text):
        assert family.documentation.endswith("."), family.name
        counts = f"{family.name}_total" in {sample.name for sample in family.samples}
        assert (family.type == "counter") == counts, family.name


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
    """An upload that begins is told at once, how far it is with the next that is due."""
    with running(tmp_path) as (parts, clock):
        board = parts.board
        clock.after(20.5, lambda: board.report(transfer=Transfer("b", 1, 2)))
        clock.after(21.5, lambda: board.report(transfer=Transfer("b", 2, 2)))
        clock.after(33, lambda: board.report(credential=CredentialState.REFUSED))
        written = publish(parts, clock, 40)
    times = [round(at) for at, _, _ in written]
    assert times in ([0, 10, 20, 21, 31, 33], [0, 10, 20, 21, 31, 34]), times
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
        parts.outbox.store._open()  # so that the parts can be closed
    newest = [document for _, name, document in written if name == "delivery.json"][-1]
    assert "the index failed" in newest["failing"]
    assert len([name for _, name, _ in written if name == "delivery.json"]) >= 6
    assert not [line for line in logs if line["log_level"] == "error"]


def test_a_client_that_fails_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of prometheus_client may do what it likes: one warning, and status.json goes on."""

    def fails(_figures: Figures) -> bytes:
        raise TypeError("unexpected keyword")

    monkeypatch.setattr("agent.deliverer.publisher.exposition", lambda: fails)
    with running(tmp_path, metrics=str(tmp_path / "out.prom")) as (parts, clock), capture_logs() as logs:
        written = publish(parts, clock, 65)
    assert next(line["log_level"] for line in logs if line["action"] == "publish_failed") == "warning"
    assert {name for _, name, _ in written} == {"delivery.json"}


def test_without_the_extra_one_warning_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics that are asked for and cannot be made are said once; everything else goes on."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with running(tmp_path, metrics=str(tmp_path / "out.prom")) as (parts, clock), capture_logs() as logs:
        written = publish(parts, clock, 65)
    (told,) = [line for line in logs if line["action"] == "metrics_failed"]
    assert "recorder-agent[metrics]" in told["reason"]
    assert {name for _, name, _ in written} == {"delivery.json"}


def test_the_client_is_not_imported_where_no_file_is_asked_for(tmp_path: Path) -> None:
    """Nobody pays for figures that nobody wants."""
    script = (
        "import sys, threading\nfrom pathlib import Path\nfrom agent.config import Config, StorageConfig\n"
        "from agent.deliverer.wiring import DelivererWiring\nfrom agent.deliverer.publisher import Publisher\n"
        "from agent.statedir import StateDirectory\n"
        f"state = StateDirectory(Path({str(tmp_path / 's')!r}), Path({str(tmp_path)!r})); state.create()\n"
        "parts = DelivererWiring(Config(storage=StorageConfig(directory=str(state.path))), state, {})\n"
        "stopping = threading.Event(); threading.Timer(0.2, stopping.set).start()\n"
        "Publisher(parts).run(stopping)\nprint('prometheus_client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_it_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails half way leaves what was there, and no rubbish beside it."""
    path = tmp_path / "a.json"
    agent.status.outlet.replace(path, b"first\n", 0o640)

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fchmod", fails)
    with pytest.raises(OSError, match="No space"):
        agent.status.outlet.replace(path, b"second\n", 0o640)
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
