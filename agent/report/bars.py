"""The bar of a day: its parts one after another, on a terminal and as a picture."""

from typing import Any, NamedTuple

DAY_SECONDS = 86_400.0
LEAST = 0.006
"""So much of a bar has what is missing at least, from ``SEEN_SECONDS`` on."""
SEEN_SECONDS = 1.0
RECORDED, MISSING, NOT_WANTED = "recorded", "missing", "not_wanted"
LETTERS = {RECORDED: "#", MISSING: "x", NOT_WANTED: "."}

Json = dict[str, Any]


class Part(NamedTuple):
    """A part of a bar; the bar is 1 long."""

    kind: str
    """``recorded``, ``missing`` or ``not_wanted``."""
    cause: str
    """Of what is missing."""
    seconds: float
    begin: float
    length: float


def parts_of(row: Json) -> list[Part]:
    """Return the parts of the bar of a row of ``report --json``, in their order; none where nothing is known."""
    if row["recorded_seconds"] is None:
        return []
    found = [(RECORDED, "", row["recorded_seconds"])]
    found += [(MISSING, cause, seconds) for cause, seconds in row["missing_seconds"].items()]
    found.append((NOT_WANTED, "", row["not_wanted_seconds"]))
    found = [each for each in found if each[2] > 0]
    whole = max(DAY_SECONDS, sum(seconds for *_, seconds in found))
    lengths = [
        max(seconds / whole, LEAST if kind == MISSING and seconds >= SEEN_SECONDS else 0.0)
        for kind, _, seconds in found
    ]
    over = max(1.0, sum(lengths))
    parts: list[Part] = []
    begin = 0.0
    for (kind, cause, seconds), length in zip(found, lengths, strict=True):
        parts.append(Part(kind, cause, seconds, begin, length / over))
        begin += length / over
    return parts


def text_bar(row: Json, width: int) -> str:
    """Return the bar in letters: ``#`` recorded, ``x`` missing, ``.`` not wanted; one is left empty where time is."""
    parts = parts_of(row)
    letters = [" "] * width
    for part in parts:
        for at in range(round(part.begin * width), round((part.begin + part.length) * width)):
            letters[at] = LETTERS[part.kind]
    for part in parts:
        if part.kind == MISSING and part.seconds >= SEEN_SECONDS:
            letters[min(width - 1, round(part.begin * width))] = LETTERS[MISSING]
    return "".join(letters)


def sent_length(row: Json) -> float:
    """Return how much of a day's length was delivered on it, at most all of it."""
    return min(1.0, (row["delivered_seconds"] or 0.0) / DAY_SECONDS)
