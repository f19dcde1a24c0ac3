"""What a person reads of an examination: the one thing to do first, a line for each check, and a summary last."""

from collections import Counter
from collections.abc import Sequence

from agent.doctor.examination import Health, Result

MARKS = {
    Health.HEALTHY: "ok",
    Health.WARNING: "warning",
    Health.CRITICAL: "CRITICAL",
    Health.UNKNOWN: "unknown",
    Health.SKIPPED: "skipped",
}
_INDENT = " " * 27


def first(results: Sequence[Result]) -> Result | None:
    """Return what is to be done first: checks stand in the order of cause and effect; None where all is well."""
    for state in (Health.CRITICAL, Health.WARNING):
        found = next((result for result in results if result.state == state), None)
        if found is not None:
            return found
    return None


def lines(results: Sequence[Result]) -> list[str]:
    """Return all that is shown."""
    cause = first(results)
    shown = ["All is well."] if cause is None else [f"First: {cause.message}", f"     → {cause.hint}"]
    shown.append("")
    for result in results:
        shown.append(f"{MARKS[Health(result.state)]:<9} {result.check:<16} {result.message}")
        if result.hint:
            shown.append(f"{_INDENT}→ {result.hint}")
    return [*shown, "", summary(results)]


def summary(results: Sequence[Result]) -> str:
    """Return how many checks ended how."""
    counts = Counter(Health(result.state) for result in results)
    parts = [f"{count} {MARKS[health]}" for health in MARKS if (count := counts[health])]
    return f"{len(results)} checks: {', '.join(parts)}"
