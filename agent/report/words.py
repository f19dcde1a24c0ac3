"""What a day is, in words."""

from datetime import date
from typing import Any

SHORT_SECONDS = 0.1
"""Less is shown in milliseconds: ``0.0 s`` would say nothing."""

Json = dict[str, Any]


def length(seconds: float | None) -> str:
    """Return a length for a person: ``40 ms``, ``7.3 s``, ``12:05 min``, ``23:59:12 h``; a dash where it is unknown."""
    if seconds is None:
        return "–"
    if seconds < SHORT_SECONDS:
        return f"{round(seconds * 1000)} ms" if seconds else "0 s"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} h" if hours else f"{minutes}:{rest:02d} min"


def cause(name: str) -> str:
    """Return the name of a cause for a person."""
    return name.replace("_", " ")


def missing(row: Json) -> float | None:
    """Return the seconds of a row that are missing, whatever the cause."""
    return None if row["missing_seconds"] is None else sum(row["missing_seconds"].values())


def missing_words(row: Json) -> str:
    """Return what is missing, its causes by their length: ``5:12 min (muted 5:00 min, overflow 12.0 s)``."""
    total, causes = missing(row), row["missing_seconds"] or {}
    if not total:
        return length(total) if total is None else "nothing"
    told = sorted(causes.items(), key=lambda item: -item[1])
    if len(told) == 1:
        return f"{length(total)} ({cause(told[0][0])})"
    return f"{length(total)} ({', '.join(f'{cause(name)} {length(seconds)}' for name, seconds in told)})"


def day(name: str) -> str:
    """Return a date for a person: ``Fri 27 Nov``."""
    found = date.fromisoformat(name)
    return f"{found:%a} {found.day} {found:%b}"


def share(row: Json) -> str:
    """Return how much of what was wanted was recorded."""
    wanted, recorded = row["wanted_seconds"], row["recorded_seconds"]
    if wanted is None:
        return "what was recorded is not known"
    if not wanted:
        return "nothing was wanted"
    part = 100 * recorded / wanted
    shown = f"{part:.1f}" if part < 99.95 or recorded >= wanted else "99.9"  # noqa: PLR2004 - rounding hides nothing
    return f"{shown} % of what was wanted was recorded"


def delivered(row: Json) -> str:
    """Return what was delivered, and what waited."""
    if row["delivered"] is None:
        return "not known"
    text = f"{row['delivered']} ({length(row['delivered_seconds'])})" if row["delivered"] else "nothing"
    if row["waiting_at_end"]:
        when = "now" if row["until"] else "at the end"
        text += f", {row['waiting_at_end']} waiting {when} ({length(row['waiting_seconds_at_end'])})"
    return text
