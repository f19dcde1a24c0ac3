"""Figures for Prometheus: a text file for the node exporter's textfile collector, by the well-kept client."""

from pathlib import Path
from typing import Any

from agent.status.table import Condition


def write_metrics(path: Path, status: dict[str, Any], condition: Condition, totals: dict[str, float]) -> None:
    """Write all figures anew, atomically. ``status`` is that of ``status --json``; OSError as the disk gives it.

    ``totals`` has ``delivered_bytes``, ``gap_seconds`` and the like: counters since the daemon was started.
    """
    from prometheus_client import CollectorRegistry, Gauge, write_to_textfile  # noqa: PLC0415 - for those who want it

    registry = CollectorRegistry()

    def figure(name: str, help_text: str, value: float | None, **labels: str) -> None:
        if value is not None:
            gauge = Gauge(f"recorder_agent_{name}", help_text, list(labels), registry=registry)
            (gauge.labels(**labels) if labels else gauge).set(value)

    figure("info", "Version of the recorder agent.", 1, version=str(status["version"]))
    conditions = Gauge(
        "recorder_agent_condition", "1 for the present condition.", ["condition"], registry=registry
    )
    for each in Condition:
        conditions.labels(condition=each.value).set(each is condition)
    queue = Gauge(
        "recorder_agent_recordings", "Recordings that are not delivered.", ["status"], registry=registry
    )
    for name in ("pending", "parked", "held"):
        queue.labels(status=name).set(status[name])
    figure("recording", "Whether samples are being written.", float(status["state"] == "recording"))
    figure("online", "Whether the API answered last time.", _truth(status["online"]))
    figure("clock_synchronized", "Whether the wall clock is right.", _truth(status["clock"]["synchronized"]))
    figure("level_dbfs", "Level of the newest sound.", status["microphone"]["level_dbfs"])
    free = status["storage"]["free_mb"]
    figure("storage_free_bytes", "Free room for recordings.", None if free is None else free * 1e6)
    for name, value in totals.items():
        figure(name, f"{name.replace('_', ' ').capitalize()} since the daemon was started.", value)
    write_to_textfile(str(path), registry)


def _truth(value: bool | None) -> float | None:
    return None if value is None else float(value)
