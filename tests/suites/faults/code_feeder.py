"""Writes the code of the time into a pipe: ``python code_feeder.py PIPE LATE ZERO``, ZERO when it has number 0."""

import os
import sys
import time
from pathlib import Path

from timecode import RATE, SLOT_SECONDS, slot

PIECE_SECONDS = 0.02


def feed(pipe: Path, said: Path, zero: float) -> None:
    """Write slot after slot at the pace of the clock, and into ``said`` by how much the latest piece was late."""
    descriptor = os.open(pipe, os.O_WRONLY)
    per_slot, size = round(SLOT_SECONDS / PIECE_SECONDS), round(PIECE_SECONDS * RATE) * 2
    most = float(said.read_text()) if said.exists() else 0.0
    piece = int((time.monotonic() - zero) / PIECE_SECONDS)
    while True:
        number, part = divmod(piece, per_slot)
        due = zero + piece * PIECE_SECONDS
        time.sleep(max(0.0, due - time.monotonic()))
        sound = slot(number % (1 << 16)).tobytes()
        os.write(descriptor, sound[part * size : (part + 1) * size])
        late = time.monotonic() - due
        piece += 1
        if late > most + PIECE_SECONDS:
            most = late
            said.write_text(str(most))


if __name__ == "__main__":
    feed(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
