"""msgspec's types and threads: what many threads read first was looked into when it was imported."""

import signal
import subprocess
import sys

import msgspec

RACE = """
import sys, threading
import msgspec
{types}
sys.setswitchinterval(1e-6)
for round_ in range(1000):
    kind = fresh()
    barrier = threading.Barrier(4)
    def read():
        barrier.wait()
        msgspec.json.decode(b'{{"a": {{"b": 1}}, "c": [{{"b": 2}}]}}', type=kind)
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
FRESH = """
def fresh():
    inner = msgspec.defstruct("Inner", [("b", int), ("d", str, "")])
    kind = msgspec.defstruct("Kind", [("a", inner), ("c", list[inner])])
    {resolve}
    return kind
"""


def run(resolve: str) -> int:
    """Return how a process ends in which threads read types that none has read before."""
    code = RACE.format(types=FRESH.format(resolve=resolve))
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, timeout=120
    ).returncode


def test_a_decoder_made_beforehand_makes_reading_safe() -> None:
    """A thousand types, each read by four threads at once, with a decoder made before: nothing happens."""
    assert run("msgspec.json.Decoder(kind)") == 0


def test_without_one_the_process_crashes() -> None:
    """A control: the versions of msgspec we know end in a segmentation fault; one that does not has mended it."""
    known = tuple(map(int, msgspec.__version__.split(".")[:2])) <= (0, 22)
    assert (run("pass") == -signal.SIGSEGV) or not known
