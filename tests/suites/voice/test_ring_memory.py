"""The last half hour in memory: it stays as large as it is, however long it is listened."""

import os
from pathlib import Path

import numpy as np
from listening import say
from speech import speech

from agent.audio.opus import OpusEncoder
from agent.audio.source import Block
from agent.config.schema import OpusConfig
from agent.recording.listener import HeardBlock
from agent.recording.listening.ring import PacketRing

RATE = 16_000
BLOCK = 1920
LAST = 1800
HOURS = float(os.environ.get("RING_HOURS", "1"))
MOST_BYTES = 9_000_000
MORE_MIB = 0.5


def private_mib() -> float:
    """Return the memory that is this process's alone."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Private_Dirty:")).split()[1]) / 1024


def test_memory_is_flat() -> None:
    """Half an hour of 32 kbit/s fills it; an hour more adds nothing, neither to what it counts nor to the process."""
    ring = PacketRing(OpusEncoder(OpusConfig(bitrate_kbps=32, complexity=0), RATE, 1), RATE, 1, LAST)
    sound = speech(RATE, 1, 60 * RATE)
    sound = (np.frombuffer(sound, "<i2") // 2).astype("<i2").tobytes()
    found: list[tuple[float, float]] = []
    until = 0.0
    for minute in range(round((LAST + 60 + HOURS * 3600) / 60)):
        if minute * 60 >= LAST + 60:
            found.append((ring.size_bytes / 1e6, private_mib()))
        for begin in range(0, len(sound), BLOCK * 2):
            samples = sound[begin : begin + BLOCK * 2]
            began, until = until, until + len(samples) / 2 / RATE
            ring.take(HeardBlock(Block(0, until, False, samples), 0, 0, began))
    sizes, memory = zip(*found, strict=True)
    say(
        f"ring {min(sizes):.2f} to {max(sizes):.2f} MB; process {memory[0]:.1f}, then {max(memory):.1f} MiB at most"
    )
    assert max(sizes) * 1e6 < MOST_BYTES
    assert max(sizes) - min(sizes) < 0.1
    assert max(memory) - memory[0] < MORE_MIB
