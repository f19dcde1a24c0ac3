"""The figures for Prometheus: each as its own parser reads it, and what happens where they cannot be made."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from logcapture import capture_logs
from prometheus_client.parser import text_string_to_metric_families
from publishing import publish, running, samples

from agent.host.battery import Battery
from agent.host.storage import DiskUsage
from agent.publish.metrics import COUNTERS, Figures, exposition
from agent.status.condition import Condition
from agent.status.status_document import status_document

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


def figures(**changes: Any) -> Figures:
    """Return figures of a recorder that has everything."""
    known = Figures(
        status_document(RECORDING),
        Condition.RECORDING,
        started_unix=1_700_000_000.25,
        pending_bytes=12_345,
        room=DiskUsage(5_000_000, 32_000_000_000),
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
    text = exposition()(Figures(status_document(unknown), Condition.IDLE, started_unix=1.0)).decode()
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
        "import sys, threading\nfrom pathlib import Path\nfrom agent.config.schema import Config, StorageConfig\n"
        "from agent.deliverer.wiring import DelivererWiring\nfrom agent.deliverer.publisher import Publisher\n"
        "from agent.process.state_directory import StateDirectory\n"
        f"state = StateDirectory(Path({str(tmp_path / 's')!r}), Path({str(tmp_path)!r})); state.create()\n"
        "parts = DelivererWiring(Config(storage=StorageConfig(directory=str(state.path))), state, {})\n"
        "stopping = threading.Event(); threading.Timer(0.2, stopping.set).start()\n"
        "Publisher(parts).run(stopping)\nprint('prometheus_client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
