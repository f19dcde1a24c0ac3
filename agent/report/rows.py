"""Rows of ``report --json``: what both processes know of each day, put together."""

from collections.abc import Iterable
from datetime import date
from typing import Any

from agent.clock import rfc3339_or_none

Json = dict[str, Any]


def rows_of(recorded: Iterable[Json], delivered: Iterable[Json], count: int) -> list[Json]:
    """Return the newest ``count`` days that anything is known of, oldest first.

    ``recorded`` are the recorder's days, ``delivered`` the deliverer's; what one of them does not know is None. Lengths
    are in seconds. Of a day that is not over ``until`` says up to when it is summed up; what waits is what waits now.
    """
    heard = {row["date"]: row for row in recorded if _is_date(row.get("date"))}
    sent = {row["date"]: row for row in delivered if _is_date(row.get("date"))}
    first = min(heard, default=None)
    names = sorted({*heard, *(name for name, row in sent.items() if _says_something(row, name, first))})
    return [_row(name, heard.get(name), sent.get(name)) for name in names[-count:]]


def _says_something(row: Json, name: str, first: str | None) -> bool:
    """Whether a day of the deliverer is worth a row: not one before the recorder's first without a delivery."""
    return bool(row["delivered"] or row["waiting"]) or (first is not None and name >= first)


def _is_date(name: object) -> bool:
    try:
        return bool(date.fromisoformat(str(name)))
    except ValueError:
        return False


def _row(name: str, heard: Json | None, sent: Json | None) -> Json:
    missing = None if heard is None else {cause: ms / 1000 for cause, ms in heard["missing_ms"].items()}
    recorded = None if heard is None else heard["recorded_ms"] / 1000
    return {
        "date": name,
        "wanted_seconds": None
        if heard is None
        else (heard["recorded_ms"] + sum(heard["missing_ms"].values())) / 1000,
        "recorded_seconds": recorded,
        "not_wanted_seconds": None if heard is None else heard["not_wanted_ms"] / 1000,
        "missing_seconds": missing,
        "delivered": None if sent is None else sent["delivered"],
        "delivered_seconds": None if sent is None else sent["delivered_ms"] / 1000,
        "waiting_at_end": None if sent is None else sent["waiting"],
        "waiting_seconds_at_end": None if sent is None else sent["waiting_ms"] / 1000,
        "until": None if heard is None else rfc3339_or_none(heard["until_ms"]),
    }
