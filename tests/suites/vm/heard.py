"""What the recordings API was given, read by the code in the sound."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from timecode import HEARD_RATE, SLOT_SECONDS, SYMBOL_SECONDS, SYNC_HZ, TONES_HZ, Samples, decoded

from agent.sandbox.server import SandboxServer
from vm.microphones import CODES_APART

SYMBOL = round(SYMBOL_SECONDS * HEARD_RATE)
SLOT = round(SLOT_SECONDS * HEARD_RATE)
STEP = HEARD_RATE // 200
STEPS_A_SYMBOL = SYMBOL // STEP
NUMBERS = 65_536
PURE = 0.5
"""A symbol is read when its tone has this share of the power."""
CLEAR = 5e5


@dataclass(frozen=True)
class Slot:
    """One half-second of code, by this host's time when it was played."""

    at: float
    offset: float
    """Seconds from the beginning of the file."""
    microphone: int


@dataclass(frozen=True)
class Delivered:
    """One recording on the server."""

    id: str
    started_at: float
    seconds: float
    slots: list[Slot]
    objects: int
    """So many of its uploads were completed; more than one is a copy too many."""
    loudest_dbfs: float = -math.inf
    """Of the loudest second."""

    @property
    def heard_until(self) -> float | None:
        """Host time of the end of its sound, None when it holds no code."""
        if not self.slots:
            return None
        last = self.slots[-1]
        return last.at + self.seconds - last.offset


class Collection:
    """All recordings that a server has, oldest first; what was read before is not decoded again."""

    def __init__(self, server: SandboxServer) -> None:
        self._server = server
        self._read: dict[str, Delivered] = {}

    def recordings(self) -> list[Delivered]:
        """Return the recordings that are complete on the server."""
        found = []
        for row in self._server.state.snapshot()["recordings"]:
            if row["status"] != "uploaded":
                continue
            if row["id"] not in self._read:
                self._read[row["id"]] = self._delivered(row)
            found.append(self._read[row["id"]])
        return sorted(found, key=lambda each: each.started_at)

    def incomplete(self) -> int:
        """Return how many recordings the server knows and has no sound of."""
        return sum(row["status"] != "uploaded" for row in self._server.state.snapshot()["recordings"])

    def slots(self) -> list[Slot]:
        """Return all that was heard, by the time it was played."""
        return sorted((slot for each in self.recordings() for slot in each.slots), key=lambda slot: slot.at)

    def _delivered(self, row: dict[str, Any]) -> Delivered:
        started = datetime.fromisoformat(row["started_at"]).timestamp()
        complete = [media for media in row["media"] if media["status"] == "uploaded"]
        sound = decoded(self._server.objects / complete[-1]["key"])
        slots = read_slots(sound, started)
        own = row["metadata"].get("client_recording_id", row["id"])
        return Delivered(own, started, len(sound) / HEARD_RATE, slots, len(complete), loudest(sound))


def loudest(sound: Samples) -> float:
    """Return the level of the loudest whole second in dBFS; of less than a second it is not known: -inf."""
    seconds = sound[: len(sound) // HEARD_RATE * HEARD_RATE].astype(float).reshape(-1, HEARD_RATE)
    most = float(np.sqrt((seconds**2).mean(axis=1)).max(initial=0))
    return 20 * math.log10(most / 32_768) if most else -math.inf


def read_slots(sound: Samples, started: float) -> list[Slot]:
    """Return every slot that can be read; ``started`` is the claimed host time of the first sample."""
    pitch, purity = _symbols(sound)
    slots = []
    at, end = 0, len(pitch) - 4 * STEPS_A_SYMBOL
    while at < end:
        if _number(pitch, purity, at) is None:
            at += 1
            continue
        near = [
            each
            for each in range(at, min(at + STEPS_A_SYMBOL, end))
            if _number(pitch, purity, each) is not None
        ]
        best = max(near, key=lambda each: _purity(purity, each))
        number = _number(pitch, purity, best)
        assert number is not None
        slots.append(_slot(number, best * STEP / HEARD_RATE, started))
        at = best + SLOT // STEP - 4
    return slots


def _slot(number: int, offset: float, started: float) -> Slot:
    """Find the time, and the microphone by whose code it is nearest to the claimed one."""
    candidates = []
    for microphone in (1, 2, 3):
        base = number - (microphone - 1) * CODES_APART
        rounds = round(((started + offset) / SLOT_SECONDS - base) / NUMBERS)
        at = (base + rounds * NUMBERS) * SLOT_SECONDS
        candidates.append(Slot(at, offset, microphone))
    return min(candidates, key=lambda each: abs(each.at - started - offset))


def _symbols(sound: Samples) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return for each step the tone that is strongest in the symbol that begins there, and its share of the power."""
    signal = sound.astype(float)
    if len(signal) < 5 * SYMBOL:
        return np.zeros(0, np.int64), np.zeros(0)
    times = np.arange(len(signal)) / HEARD_RATE
    energy = _windows(signal**2).real
    powers = [
        np.abs(_windows(signal * np.exp(-2j * np.pi * hertz * times))) ** 2 * 2 / SYMBOL
        for hertz in (SYNC_HZ, *TONES_HZ)
    ]
    table = np.stack(powers)
    share = table.max(axis=0) / np.maximum(energy, 1)
    share[energy < CLEAR] = 0
    return table.argmax(axis=0), share


def _windows(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    summed = np.concatenate(([0], np.cumsum(values)))
    starts = np.arange(0, len(values) - SYMBOL + 1, STEP)
    return np.asarray(summed[starts + SYMBOL] - summed[starts])


def _number(pitch: npt.NDArray[np.int64], purity: npt.NDArray[np.float64], at: int) -> int | None:
    number = 0
    for index in range(5):
        here = at + index * STEPS_A_SYMBOL
        if purity[here] < PURE or (pitch[here] == 0) != (index == 0):
            return None
        number = number << 4 | max(int(pitch[here]) - 1, 0)
    return number


def _purity(purity: npt.NDArray[np.float64], at: int) -> float:
    return float(min(purity[at + index * STEPS_A_SYMBOL] for index in range(5)))
