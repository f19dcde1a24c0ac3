"""The settings of the recorder in the machine: those of the image, with what a part changes."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vm.machine import Machine

CONFIG_FILE = "/etc/recorder-agent/config.toml"
Settings = Mapping[str, Mapping[str, str | int]]
"""Values by section and key."""
GUEST_API_PORT = 5600
NAMED = "USB PnP"
"""The part of its name by which the settings choose the USB microphone."""
FLUSH_SECONDS = 5
SETTINGS: Settings = {
    "api": {"base_url": f"http://127.0.0.1:{GUEST_API_PORT}/v1"},
    "audio": {"input": NAMED},
    "recording": {"segment_seconds": 20},
    "storage": {"flush_seconds": FLUSH_SECONDS, "min_free_mb": 50},
    "sync": {"calls_per_minute": 1000},
}
"""What the image has."""


def toml(settings: Settings) -> str:
    """Return settings as a file has them: texts and numbers are written as in JSON."""
    return "".join(
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        for section, values in settings.items()
    )


def merged(base: Settings, changes: Settings) -> Settings:
    """Return ``base`` with the keys of ``changes`` in the place of its own."""
    return {section: {**base.get(section, {}), **changes.get(section, {})} for section in {**base, **changes}}


def write(machine: "Machine", changes: Settings) -> None:
    """Write the image's settings with some changes; whoever runs does not know them yet."""
    machine.run(f"cat >{CONFIG_FILE} <<'END'\n{toml(merged(SETTINGS, changes))}END")
