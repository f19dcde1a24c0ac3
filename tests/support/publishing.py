"""A recorder and a deliverer that publish under a simulated clock, and what each file said when."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from waiting_recordings import LoopClock

import agent.status.published_file
from agent.config.schema import Config, MetricsConfig, StorageConfig
from agent.deliverer.publisher import Publisher
from agent.deliverer.wiring import DelivererWiring
from agent.process.state_directory import StateDirectory
from agent.recorder.publisher import Publisher as RecorderPublisher
from agent.recorder.wiring import RecorderWiring


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
    replace_file = agent.status.published_file.replace
    began = clock.monotonic()

    def noted(path: Path, content: bytes, mode: int) -> None:
        replace_file(path, content, mode)
        document = json.loads(path.read_text()) if path.suffix == ".json" else samples(path.read_text())
        written.append((clock.monotonic() - began, path.name, document))

    clock.stopping.clear()
    clock.end = began + seconds
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.status.published_file.replace", noted)
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
