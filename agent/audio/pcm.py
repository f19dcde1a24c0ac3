"""Figures of 16-bit PCM at the speed of C: audioop of the standard library, from Python 3.13 on its own package."""

import importlib
import math
import sys
import warnings
from array import array
from typing import Any, Final, NamedTuple

FLOOR_DBFS: Final = -96.0
"""The level of silence: what 16 bits cannot tell from nothing (JSON has no minus infinity)."""
FULL_SCALE: Final = 32768
LIMIT: Final = 32767
"""A sample of this amount, or of one more below zero, is at the limit of 16 bits."""
WIDTH: Final = 2
"""Bytes of a sample."""

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it left the standard library with 3.13: audioop-lts
    audioop: Any = importlib.import_module("audioop")


class Measure(NamedTuple):
    """How loud some samples are."""

    peak: int
    """The largest amount, from 0 to 32768."""
    energy: float
    """The sum of the squares of all samples."""


def measure(samples: bytes | memoryview) -> Measure:
    """Return peak and energy of 16-bit little-endian samples."""
    peak: int = audioop.max(samples, WIDTH)
    if not peak:
        return Measure(0, 0.0)
    gain = max(1, LIMIT // peak)  # rms() is a whole number: the louder, the truer
    rms = audioop.rms(samples if gain == 1 else audioop.mul(samples, WIDTH, gain), WIDTH) + 0.5
    return Measure(peak, (rms / gain) ** 2 * (len(samples) // WIDTH))


def clipped(samples: bytes | memoryview) -> int:
    """Return how many samples are at the limit of 16 bits."""
    values = array("h", bytes(samples))
    return values.count(LIMIT) + values.count(-FULL_SCALE)


def dbfs(amplitude: float) -> float:
    """Return an amount, of 32768 at most, in decibels relative to full scale; at least ``FLOOR_DBFS``."""
    return max(FLOOR_DBFS, 20 * math.log10(amplitude / FULL_SCALE)) if amplitude > 0 else FLOOR_DBFS


assert sys.byteorder == "little"  # noqa: S101 - what the microphone gives is what audioop takes
