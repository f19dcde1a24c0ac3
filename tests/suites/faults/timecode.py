"""Sound that tells the time: half-second slots of a sync tone and a number in four tones."""

import contextlib
import functools
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

RATE = 48_000
SLOT_SECONDS = 0.5
SYMBOL_SECONDS = 0.1
SYNC_HZ = 600
TONES_HZ = tuple(800 + 150 * digit for digit in range(16))
HEARD_RATE = 16_000
CONNECTED_WITHIN = 10.0
POLL_SECONDS = 0.01
_STEP = HEARD_RATE // 200
_LOUD = 0.5

Samples = npt.NDArray[np.int16]


@functools.cache
def _tone(hertz: int, rate: int) -> npt.NDArray[np.float64]:
    times = np.arange(round(SYMBOL_SECONDS * rate)) / rate
    edge = np.minimum(1, np.minimum(times, times[::-1]) / 0.005)
    return np.asarray(np.sin(2 * np.pi * hertz * times) * edge)


def slot(number: int, rate: int = RATE) -> Samples:
    """Return the sound of one slot."""
    digits = [(number >> shift) & 15 for shift in (12, 8, 4, 0)]
    tones = [_tone(SYNC_HZ, rate), *(_tone(TONES_HZ[digit], rate) for digit in digits)]
    return np.asarray(np.concatenate(tones) * 12_000).astype(np.int16)


class Player:
    """Plays the code of the time into the virtual microphone, and again whenever it is told to.

    ``began`` is the moment of the monotonic clock that has the number 0; that of its making when left out.
    """

    def __init__(self, environment: dict[str, str], began: float | None = None) -> None:
        self._environment = environment
        self._began = time.monotonic() if began is None else began
        self._process: subprocess.Popen[bytes] | None = None

    def play(self) -> None:
        """Begin at the code of now."""
        self.stop()
        command = ["pacat", "--raw", "--latency-msec=60", f"--rate={RATE}", "--channels=1", "-d", "vmic"]
        process = subprocess.Popen(
            command, env=self._environment, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._process = process
        threading.Thread(target=self._feed, args=(process,), daemon=True).start()

    def stop(self) -> None:
        """Play no more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _wait_until_heard(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the player's stream is there: on a busy machine its start would make the code late."""
        command = ["pactl", "list", "short", "sink-inputs"]
        until = time.monotonic() + CONNECTED_WITHIN
        while process.poll() is None and time.monotonic() < until:
            if subprocess.run(
                command, env=self._environment, capture_output=True, check=False
            ).stdout.strip():
                return
            time.sleep(POLL_SECONDS)

    def _feed(self, process: subprocess.Popen[bytes]) -> None:
        self._wait_until_heard(process)
        now = time.monotonic() - self._began
        number = int(now / SLOT_SECONDS)
        skip = round((now - number * SLOT_SECONDS) * RATE)
        assert process.stdin is not None
        try:
            process.stdin.write(slot(number)[skip:].tobytes())
            while True:
                number += 1
                process.stdin.write(slot(number).tobytes())
        except (OSError, ValueError):  # stopped
            return


def code_time(heard: Samples, *, from_end: bool = False) -> float | None:
    """Return the code's time at the first sample heard, or behind the last; None without two slots in a row."""
    length = round(SLOT_SECONDS * HEARD_RATE)
    starts = range(0, min(len(heard) - 2 * length, 20 * length), _STEP)
    for start in starts:
        at = len(heard) - 2 * length - start if from_end else start
        first = _read(heard[at : at + length])
        if first is None or _read(heard[at + length : at + 2 * length]) != first + 1:
            continue
        at = _aligned(heard, at, first)
        passed = (len(heard) - at) / HEARD_RATE if from_end else -at / HEARD_RATE
        return first * SLOT_SECONDS + passed
    return None


def _read(piece: Samples) -> int | None:
    """Return a slot's number, None when this is none."""
    size = round(SYMBOL_SECONDS * HEARD_RATE)
    number = 0
    for index in range(5):
        part = piece[index * size : (index + 1) * size].astype(float)
        power = [_power(part, hertz) for hertz in (SYNC_HZ, *TONES_HZ)]
        best = int(np.argmax(power))
        if (best == 0) != (index == 0) or power[best] < _LOUD * float(np.sum(part**2)) or power[best] == 0:
            return None
        number = number << 4 | max(best - 1, 0)
    return number


def _power(part: npt.NDArray[np.float64], hertz: int) -> float:
    return float(np.abs(np.dot(part, _turns(hertz, len(part)))) ** 2 * 2 / len(part))


@functools.cache
def _turns(hertz: int, samples: int) -> npt.NDArray[np.complex128]:
    return np.asarray(np.exp(-2j * np.pi * hertz * np.arange(samples) / HEARD_RATE))


def _aligned(heard: Samples, at: int, number: int) -> int:
    """Return where exactly the slot begins, near ``at``."""
    size = round(SYMBOL_SECONDS * HEARD_RATE)
    begin = max(0, at - size)
    known = slot(number, HEARD_RATE).astype(float)
    near = heard[begin : at + len(known) + size].astype(float)
    return begin + int(np.argmax(np.abs(np.correlate(near, known, "valid"))))


def decoded(path: Path) -> Samples:
    """Return what an Opus file holds, at 16 kHz."""
    command = ["opusdec", "--quiet", "--rate", str(HEARD_RATE), str(path), "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    at = done.stdout.find(b"data") + 8 if done.stdout[:4] == b"RIFF" else 0
    return np.frombuffer(done.stdout[at : at + (len(done.stdout) - at) // 2 * 2], "<i2")
