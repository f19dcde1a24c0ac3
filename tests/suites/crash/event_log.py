"""What a life writes down for the oracle: in a file of its own, line by line, so that a SIGKILL loses nothing of it."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MARK = "/step/"
"""Begins the name of a file that does not exist: looking for it puts a step into a trace of the system calls."""


class Diary:
    """Appends events; with ``marks`` each is also seen by strace."""

    def __init__(self, path: Path, *, marks: bool = False) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._marks = marks

    def note(self, kind: str, name: str, **facts: Any) -> None:
        """Write one event."""
        line = json.dumps({"kind": kind, "name": name, **facts}) + "\n"
        os.write(self._descriptor, line.encode())
        if self._marks:
            os.access(f"{MARK}{kind}/{name}", os.F_OK)


@dataclass
class Story:
    """What a diary tells."""

    steps: list[str] = field(default_factory=list)
    """Names of all durable steps, in order."""
    handed: int = 0
    """Samples handed to the recorder."""
    finished: dict[str, tuple[str, int]] = field(default_factory=dict)
    """SHA-256 and samples of each file that was whole and durable, by local id."""
    elapsed: float = 0.0
    """Seconds on the clock when it ended."""
    said: list[str] = field(default_factory=list)
    """Errors that were met."""
    struck: str | None = None
    """The step at which the fault was."""
    ended: bool = False


def read(path: Path) -> Story:
    """Read a diary back."""
    story = Story()
    for event in _events(path):
        story.elapsed = max(story.elapsed, event.get("elapsed", 0.0))
        kind, name = event["kind"], event["name"]
        if kind == "step":
            story.steps.append(name)
        elif kind == "handed":
            story.handed += event["samples"]
        elif kind == "finished":
            story.finished[name] = event["sha256"], event["samples"]
        elif kind == "error":
            story.said.append(name)
        elif kind == "struck":
            story.struck = name
        elif kind == "ended":
            story.ended = True
    return story


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the events of a diary."""
    return list(_events(path))


def _events(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        for line in path.read_text().splitlines():
            yield json.loads(line)
