"""The median of some figures, and how far they lie apart."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """Median and both ends of some figures."""

    median: float
    least: float
    most: float


def spread(figures: Sequence[float]) -> Spread:
    """Return the spread of at least one figure."""
    return Spread(statistics.median(figures), min(figures), max(figures))
