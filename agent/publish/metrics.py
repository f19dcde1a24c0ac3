"""Figures for Prometheus: one text file for the node exporter's textfile collector, by the extra ``[metrics]``.

Names follow Prometheus' own rules: base units, ``_total`` for counters, moments as ``_timestamp_seconds`` (an age is
``time()`` minus one). What is unknown is absent, never 0.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import ModuleType
from typing import Any

from agent.errors import AgentError
from agent.hints import extra
from agent.host.battery import Battery
from agent.host.storage import DiskUsage
from agent.status.board import State
from agent.status.condition import Condition
from agent.status.status_document import StatusDocument
from agent.status.words import SOUNDING

PREFIX = "recorder_agent_"
PERCENT = 100
COUNTERS = {
    "recordings": "Recordings that were begun, since the state directory was made.",
    "missing_seconds": "Seconds that should have been recorded and were not, in gaps that are over, since the start.",
    "delivered_recordings": "Recordings that the API has confirmed, since the start.",
    "delivered_bytes": "Bytes of the recordings that the API has confirmed, since the start.",
}
"""What may be counted: names without prefix and ``_total``, and what they mean."""


@dataclass(frozen=True)
class Figures:
    """What is known at one moment."""

    status: StatusDocument
    condition: Condition
    started_unix: float
    """When the process was started, by the clock of now."""
    pending_bytes: int | None = None
    room: DiskUsage | None = None
    battery: Battery | None = None
    counters: Mapping[str, float] = field(default_factory=dict)
    """By their names in ``COUNTERS``."""


def exposition() -> Callable[[Figures], bytes]:
    """Return what turns figures into Prometheus' text format.

    Raises:
        AgentError: prometheus_client is not installed.
    """
    try:
        from prometheus_client import core, generate_latest  # noqa: PLC0415 - an extra, and 1.1 MiB
    except ImportError as error:
        raise AgentError("metrics.file needs prometheus_client", f"{extra('metrics')} brings it") from error

    def text(figures: Figures) -> bytes:
        return generate_latest(_Collected(lambda: _families(core, figures)))

    return text


class _Collected:
    """What ``generate_latest`` asks: figures of one moment need no registry that keeps them."""

    def __init__(self, collect: Callable[[], Iterator[Any]]) -> None:
        self.collect = collect


def _families(core: ModuleType, figures: Figures) -> Iterator[Any]:
    """Yield the families of samples, of ``prometheus_client.core``."""
    status = figures.status
    yield core.InfoMetricFamily(
        f"{PREFIX}build", "Version of the recorder agent.", value={"version": status.version}
    )
    yield _of_words(core, "condition", "1 for the condition that is shown.", _one_hot(figures.condition))
    queue = {"pending": status.pending, "parked": status.parked, "held": status.held}
    yield _of_words(core, "queued_recordings", "Recordings that are not delivered.", queue, label="status")
    for name, (text, value) in _gauges(figures).items():
        if value is not None:
            yield core.GaugeMetricFamily(f"{PREFIX}{name}", text, value=value)
    for name, value in figures.counters.items():
        yield core.CounterMetricFamily(f"{PREFIX}{name}", COUNTERS[name], value=value)


def _gauges(figures: Figures) -> dict[str, tuple[str, float | None]]:
    """Return the single figures by name: what they mean, and their value or None."""
    status, room, battery = figures.status, figures.room, figures.battery
    microphone, accepted = status.microphone, {"accepted": 1.0, "refused": 0.0, "missing": 0.0}
    return {
        "start_timestamp_seconds": ("When the recorder was started.", figures.started_unix),
        "recording": ("Whether samples are being written.", float(status.state is State.RECORDING)),
        "uploading": ("Whether a recording is on its way.", float(status.transfer is not None)),
        "queued_bytes": ("Bytes of audio that wait for delivery.", figures.pending_bytes),
        "oldest_queued_timestamp_seconds": (
            "Start of the oldest recording that waits for delivery.",
            _unix(status.oldest_pending_at),
        ),
        "last_delivery_timestamp_seconds": (
            "When the newest delivery was confirmed.",
            _unix(status.last_delivery_at),
        ),
        "online": ("Whether the API was reached at the last try.", _truth(status.online)),
        "credential_accepted": (
            "Whether there is a device token that the API takes.",
            accepted.get(status.credential.state),
        ),
        "clock_synchronized": ("Whether NTP keeps the clock.", _truth(status.clock.synchronized)),
        "microphone_level_dbfs": (
            "Level of the newest 100 ms.",
            microphone.level_dbfs if microphone.state in SOUNDING else None,
        ),
        "storage_free_bytes": ("Room that is left for recordings.", room.free if room else None),
        "storage_size_bytes": ("Size of the file system that holds them.", room.total if room else None),
        "storage_full": ("Whether less than storage.min_free_mb is left.", _truth(status.storage.full)),
        "battery_charge_ratio": ("Charge of the battery.", battery.percent / PERCENT if battery else None),
        "battery_charging": ("Whether it is being charged.", float(battery.charging) if battery else None),
    }


def _of_words(
    core: ModuleType, name: str, text: str, values: Mapping[str, float], label: str | None = None
) -> Any:
    family = core.GaugeMetricFamily(f"{PREFIX}{name}", text, labels=[label or name])
    for word, value in values.items():
        family.add_metric([word], value)
    return family


def _one_hot(present: Condition) -> dict[str, float]:
    return {each.value: float(each is present) for each in Condition}


def _truth(value: bool | None) -> float | None:
    return None if value is None else float(value)


def _unix(rfc3339: str | None) -> float | None:
    return None if rfc3339 is None else datetime.fromisoformat(rfc3339).timestamp()
