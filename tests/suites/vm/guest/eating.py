"""The deliverer, and a thread that eats memory while the file /lab/eat is there, until the kernel ends them both.

usage: eating.py ARGUMENTS of recorder-agent. The memory is shared, so that the limit of its control group is what it
meets, and not that of its own data.
"""

import mmap
import threading
import time
from pathlib import Path

from agent.cli import main

WANTED = Path("/lab/eat")
BITE = 1 << 20
held: list[mmap.mmap] = []


def eat() -> None:
    """Take a megabyte each 10 ms, and write into all of it."""
    while True:
        time.sleep(0.01 if WANTED.exists() else 0.5)
        if WANTED.exists():
            held.append(mmap.mmap(-1, BITE))
            held[-1].write(b"\1" * BITE)


threading.Thread(target=eat, daemon=True).start()
main()
