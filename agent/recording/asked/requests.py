"""What others ask of the recorder: shared between the asking and the recording thread."""

from threading import Event
from typing import Any

import msgspec

from agent.bounds import DurationMs
from agent.clock import Instant
from agent.errors import AgentError
from agent.hints import typed

LONGEST_SECONDS = 604_800
"""A week: who wants more leaves the length out."""


def muted() -> AgentError:
    """Return why nothing is recorded by a muted recorder."""
    return AgentError("the recorder is muted", f"{typed('unmute')} first")


def no_samples() -> AgentError:
    """Return why there is no recording although nothing has failed."""
    return AgentError(
        "nothing was recorded: the source gave no samples", f"{typed('level')} shows what it gives"
    )


def nothing_to_mark() -> AgentError:
    """Return why there is no mark."""
    return AgentError(
        "nothing is being recorded now, so there is nothing to mark", f"{typed('start')} begins a recording"
    )


class ManualRequest(msgspec.Struct, eq=False):
    """One manual recording, from the request to its finished files."""

    name: str | None = None
    seconds: float | None = None
    """None: until stopped."""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    asked_at: float = 0.0
    """When, in seconds of the boot clock."""
    from_now: bool = False
    """Whether it begins now, although the last minutes are kept."""
    started: Event = msgspec.field(default_factory=Event)
    """Set with the first sample."""
    done: Event = msgspec.field(default_factory=Event)
    """Set when its last file is in the outbox, or when it failed."""
    finished_ids: list[str] = msgspec.field(default_factory=list)
    error: AgentError | None = None


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """A manual recording that has not come to its end: since when it is wanted, and for how long at most."""

    since: Instant
    milliseconds: DurationMs | None = None
    """None: until stopped."""


class StopRequest(msgspec.Struct):
    """The end of a manual recording, wherever it stands; None: of the one that runs, if one does."""

    of: ManualRequest | None = None


class MarkRequest(msgspec.Struct):
    """A mark in the recording that runs."""

    at: float
    """The moment, in seconds of the boot clock."""
    text: str = ""
    done: Event = msgspec.field(default_factory=Event)
    recording_id: str | None = None
    offset_ms: int | None = None
    error: AgentError | None = None

    def refuse(self, reason: AgentError) -> None:
        """Say why there is no mark."""
        self.error = reason
        self.done.set()


Request = ManualRequest | StopRequest | MarkRequest
