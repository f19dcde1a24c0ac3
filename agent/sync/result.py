"""What one drain of the outbox did, and what it means for the one who asked for it."""

from dataclasses import dataclass, field
from typing import Any

from agent.errors import AgentError, CredentialError, StillWaiting
from agent.hints import typed
from agent.index.table.store import Store


@dataclass
class SyncResult:
    """Which recordings a drain delivered and parked, by their local ids."""

    delivered: list[str] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)
    without_time: list[str] = field(default_factory=list)
    """Those whose start is not known yet, and that a person's drain waits for."""
    stopped_by: AgentError | None = None
    """What ended the drain before everything was tried."""


def answer_of(report: SyncResult, store: Store) -> dict[str, Any]:
    """Return the answer of ``sync``: what was done, what is left, the exit code and its reason.

    Exit code: 77 credential, else 75 something still waits, else 1 something was parked, else 0.
    """
    counts = store.counts()
    code, message = 0, None
    if isinstance(report.stopped_by, CredentialError):
        code, message = CredentialError.exit_code, str(report.stopped_by)
    elif counts["pending"]:
        code, message = StillWaiting.exit_code, _why_waiting(report, store)
    elif report.parked:
        first = store.get(report.parked[0])
        reason = first.parked_reason if first is not None else "it was refused"
        code = 1
        message = f"{len(report.parked)} parked ({reason}); see {typed('queue list')}"
    return {
        "delivered": report.delivered,
        "parked": report.parked,
        **counts_left(counts),
        "exit_code": code,
        "message": message,
    }


def counts_left(counts: dict[str, int]) -> dict[str, int]:
    """Return what is left under names that do not collide with what was done."""
    return {"pending": counts["pending"], "parked_in_all": counts["parked"], "held": counts["held"]}


def _why_waiting(report: SyncResult, store: Store) -> str:
    if report.stopped_by is not None:
        return str(report.stopped_by)
    oldest = store.oldest_waiting()
    return (oldest.last_error if oldest is not None else None) or "some recordings wait for their next try"
