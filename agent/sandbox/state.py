"""Everything the sandbox knows, in one object that tests may look into and change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from agent.sandbox.book import Book
from agent.sandbox.devices import Devices
from agent.sandbox.model import Switches
from agent.sandbox.recordings import Recordings


class State:
    """Switches, devices and recordings over one book."""

    def __init__(self, directory: Path, switches: Switches, now: Callable[[], float]) -> None:
        self.switches = switches
        self.now = now
        self.book = Book(directory / "recordings.json")
        self.devices = Devices(self.book, switches, now)
        self.recordings = Recordings(self.book, switches, now)

    def set_switches(self, changes: dict[str, Any]) -> None:
        """Set switches by name; when one is wrong ``msgspec.ValidationError`` says so and none is set."""
        wanted = msgspec.convert(msgspec.to_builtins(self.switches) | changes, Switches)
        for name in changes:
            setattr(self.switches, name, getattr(wanted, name))

    def snapshot(self) -> dict[str, Any]:
        """Return everything for an oracle; tokens as the first 12 digits of their SHA-256."""
        with self.book.reading() as kept:
            shown: dict[str, Any] = msgspec.to_builtins(kept)
        del shown["secret"], shown["answers"]
        recordings = list(shown["recordings"].values())
        for token in shown["tokens"]:
            token["fingerprint"] = token.pop("sha256")[:12]
        return shown | {
            "recordings": recordings,
            "objects": [
                {
                    "recording_id": recording["id"],
                    "media_id": media["id"],
                    "key": media["key"],
                    **media["object"],
                }
                for recording in recordings
                for media in recording["media"]
                if media["object"]
            ],
            "heartbeats": [each._asdict() for each in list(self.devices.heartbeats)],
            "switches": msgspec.to_builtins(self.switches),
        }
