"""Whether sound was heard without a break, and how the clock of its samples went."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from timecode import SLOT_SECONDS

from vm.heard import Delivered, Slot
from vm.lab import Row, unix

TOUCHES_SECONDS = 1.0
GAPLESS_SECONDS = 0.1
CUT_SECONDS = 0.3
"""The claimed time of a cut may be wrong by so much."""


class Drift(NamedTuple):
    """How far the times of samples, as claimed, are from when they were played."""

    worst: float
    """The largest distance from the middle one, in seconds."""
    per_million: float
    """How much faster the claimed time goes than the true one."""
    seconds: float
    """From the first to the last sample that was compared."""


def missing(recordings: Sequence[Delivered], begin: float, end: float) -> list[float]:
    """Return the host times of the slots between two moments of which nothing was read.

    Slots that are not whole between the moments are not asked for, nor those that a cut from one recording to the next
    goes through.
    """
    read = {round(slot.at / SLOT_SECONDS) for each in recordings for slot in each.slots}
    for before, after in itertools.pairwise(sorted(recordings, key=lambda each: each.started_at)):
        if abs(before.started_at + before.seconds - after.started_at) < GAPLESS_SECONDS:
            near = (after.started_at - CUT_SECONDS, after.started_at + CUT_SECONDS)
            read |= set(range(int(near[0] / SLOT_SECONDS), int(near[1] / SLOT_SECONDS) + 1))
    first, last = int(begin / SLOT_SECONDS) + 1, int(end / SLOT_SECONDS) - 1
    return [number * SLOT_SECONDS for number in range(first, last + 1) if number not in read]


def silence(slots: Sequence[Slot], moment: float) -> tuple[float, float] | None:
    """Return the end of the last sound before a moment and the beginning of the next; None without one of them."""
    before = [slot.at + SLOT_SECONDS for slot in slots if slot.at <= moment]
    after = [slot.at for slot in slots if slot.at > moment]
    return (max(before), min(after)) if before and after else None


def noted(gaps: Sequence[Row], begin: float, end: float) -> float:
    """Return how many seconds of the gap log belong to what was not heard from one moment to another."""
    total = 0.0
    for gap in gaps:
        if gap["from"] and gap["seconds"]:
            first = unix(gap["from"])
            if first <= end + TOUCHES_SECONDS and first + gap["seconds"] >= begin - TOUCHES_SECONDS:
                total += gap["seconds"]
    return total


def drift(recordings: Sequence[Delivered]) -> Drift | None:
    """Compare each slot's place in its recording with when it was played; None with less than two slots."""
    played = np.array([slot.at for each in recordings for slot in each.slots])
    claimed = np.array([each.started_at + slot.offset for each in recordings for slot in each.slots])
    if len(played) < 2:
        return None
    off = claimed - played
    rate = np.polyfit(played - played[0], off, 1)[0]
    return Drift(float(np.abs(off - np.median(off)).max()), float(rate * 1e6), float(np.ptp(played)))
