"""What is done to a process while it works: by signals, by another process, and by a thread inside of it."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from acceptance import Daemon, Machine, wait_for
from fakeleds import FakeLed
from rig import sabotage, say

from agent.control.client import ask
from agent.process.state_directory import Process, StateDirectory
from agent.process.state_lock import holder_of

SHORT = bool(os.environ.get("SHORT"))
ABORTED_SECONDS = 8.0 if SHORT else 120.0
HELD_SECONDS = 60
"""How long the interpreter's lock is held: a process is said to hang after 30 s."""
SAID_WITHIN = 90.0
"""Seconds: 30 until it is so, and what a loaded machine needs to be asked."""
MOST_MEMORY_KB = 320 << 10
"""The limit is on what may be written, 256 MiB; libraries that are mapped come to it."""
SHOWN_SECONDS = 3.0
"""How long the light takes to show what is known."""
SILENT_CONNECTIONS, HALF_REQUESTS = 1026, 50

INSIDE = """\
import ctypes, os, pathlib, sys, threading, time

def obey(role):
    folder = pathlib.Path({folder!r})
    while True:
        time.sleep(0.2)
        for what in ("lock", "memory"):
            order = folder / (role + "." + what)
            if not order.exists():
                continue
            seconds = int(order.read_text())
            order.unlink()
            if what == "lock":
                ctypes.PyDLL(None).sleep(seconds)
                continue
            eaten = []
            try:
                for _ in range(10 << 10):
                    eaten.append(bytearray(b"x") * (1 << 20))
            except MemoryError:
                pass
            megabytes = len(eaten)
            eaten.clear()
            (folder / (role + ".eaten")).write_text(str(megabytes))

with open("/proc/self/cmdline", "rb") as file:
    words = file.read().split(b"\\0")
role = "deliverer" if b"deliverer" in words else "recorder" if b"run" in words else ""
if role:
    threading.Thread(target=obey, args=(role,), daemon=True).start()
if role == "recorder":
    from agent.panel import led_driver
    led_driver.led_driver_for.__defaults__ = (pathlib.Path({folder!r}) / "leds",)
"""
"""``sitecustomize`` of both processes: does what it finds ordered in a folder, and drives a light that can be read."""


class Bench(NamedTuple):
    """Both processes of a machine, and its light."""

    machine: Machine
    daemon: Daemon
    led: FakeLed

    def order(self, role: str, what: str, seconds: int = 0) -> None:
        """Let the thread inside of a process do something."""
        (self.machine.folder / "orders" / f"{role}.{what}").write_text(str(seconds))

    def delivery(self) -> str:
        """Return what ``status`` says of the deliverer."""
        said: str = self.machine.ok("status", "--json").json["delivery"]
        return said

    def seen_by_recorder(self) -> str:
        """Return the same as the recorder alone says it, at once."""
        state = StateDirectory(self.machine.state, self.machine.state)
        said: str = ask(state.socket, {"command": "status"})["delivery"]
        return said

    def says(self, *words: str) -> None:
        """Wait until the recorder says one of some words of the deliverer, and ``status`` does."""
        wait_for(lambda: self.seen_by_recorder() in words and self.delivery() in words, SAID_WITHIN)


def prepare(machine: Machine) -> FakeLed:
    """Put the thread and the light in place, before anything is started."""
    folder = machine.folder / "orders"
    folder.mkdir()
    sabotage(machine, INSIDE.format(folder=str(folder)))
    machine.configure(led={"driver": "sysfs", "name": "ACT"})
    return FakeLed(folder / "leds")


def deliverer(machine: Machine) -> int | None:
    """Return the process number of the deliverer; None while there is none."""
    folder = StateDirectory(machine.state, machine.state)
    holder = holder_of(folder.lock_of(Process.DELIVERER))
    with contextlib.suppress(OSError):
        if holder is not None and b"deliverer" in Path(f"/proc/{holder.pid}/cmdline").read_bytes():
            return holder.pid
    return None


def present(machine: Machine) -> int:
    """Return the process number of the deliverer, once there is one."""
    wait_for(lambda: deliverer(machine) is not None, SAID_WITHIN)
    pid = deliverer(machine)
    assert pid is not None
    return pid


# what the light shows


def gaps_of(led: FakeLed, seconds: float = 12.0) -> float:
    """Return how often the light went dark, for every 2 s."""
    dark, gaps, end = False, 0, time.monotonic() + seconds
    while time.monotonic() < end:
        now = led.read("brightness").strip() == "0"
        gaps += now and not dark
        dark = now
        time.sleep(0.01)
    return gaps * 2 / seconds


def shows_no_delivery(led: FakeLed) -> None:
    """The light of a recorder that records, and whose recordings wait: two gaps in 2 s instead of one."""
    gaps = gaps_of(led)
    say(f"the light: {gaps:.1f} gaps every 2 s")
    assert gaps > 1.4


# what is done


def aborted(bench: Bench) -> None:
    """Abort the deliverer every second; now and then it has not come back yet."""
    times, end, said = 0, time.monotonic() + ABORTED_SECONDS, set[str]()
    while time.monotonic() < end:
        pid = deliverer(bench.machine)
        with contextlib.suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, signal.SIGABRT)
                times += 1
        said.add(bench.seen_by_recorder())
        time.sleep(1)
    say(f"aborted {times} times; status said {said}")
    assert times >= 2
    assert "stopped" in said


def stopped(bench: Bench) -> None:
    """Stop the deliverer until ``status`` says that it hangs."""
    pid = present(bench.machine)
    os.kill(pid, signal.SIGSTOP)
    try:
        bench.says("hung")
        time.sleep(SHOWN_SECONDS)
        shows_no_delivery(bench.led)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def lock_held(bench: Bench) -> None:
    """Hold the lock of the deliverer's interpreter: none of its threads can do anything."""
    present(bench.machine)
    began = time.monotonic()
    bench.order("deliverer", "lock", HELD_SECONDS)
    bench.says("hung", "stopped")
    time.sleep(max(0.0, began + HELD_SECONDS - time.monotonic()))


def eats_memory(bench: Bench) -> None:
    """Let the deliverer ask for 10 GiB: its limit refuses, and no more than that is ever its own."""
    pid, most = present(bench.machine), 0
    bench.order("deliverer", "memory")
    eaten = bench.machine.folder / "orders" / "deliverer.eaten"
    end = time.monotonic() + SAID_WITHIN
    while not eaten.exists() and deliverer(bench.machine) == pid and time.monotonic() < end:
        most = max(most, memory_kb(pid))
        time.sleep(0.05)
    got = int(eaten.read_text()) if eaten.exists() else None
    say(f"the deliverer ate {got} MiB of 10,240, {most / 1024:.0f} MiB were its own at most")
    assert eaten.exists() or deliverer(bench.machine) != pid
    assert got is None or got < MOST_MEMORY_KB >> 10
    assert most < MOST_MEMORY_KB


def memory_kb(pid: int) -> int:
    """Return the memory that is a process's own, in KiB; 0 once it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
    return 0


def fsync_hangs(bench: Bench) -> None:
    """Let every fsync of the deliverer take for ever, the index's too."""
    pid = present(bench.machine)
    calls = "fsync,fdatasync"
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(pid), "-e", f"trace={calls}"]
    with subprocess.Popen([*command, "-e", f"inject={calls}:delay_enter=600000000"]) as strace:
        try:
            bench.says("failing", "hung", "stopped")
        finally:
            strace.send_signal(signal.SIGKILL)


def sockets_held(bench: Bench) -> None:
    """Hold the deliverer's socket by a thousand silent connections, and by half requests; ``status`` answers."""
    path = StateDirectory(bench.machine.state, bench.machine.state).delivery_socket
    with contextlib.ExitStack() as stack:
        for number in range(SILENT_CONNECTIONS):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(0.2)
            with contextlib.suppress(OSError):
                connection.connect(str(path))
                if number < HALF_REQUESTS:
                    connection.send(b'{"command": "' + b"x" * 60_000)
        time.sleep(2 if SHORT else 5)
        say(f"with {SILENT_CONNECTIONS} connections held, status says: {bench.delivery()}")


ABUSES: tuple[Callable[[Bench], None], ...] = tuple(
    abuse
    for abuse in (aborted, stopped, lock_held, eats_memory, fsync_hangs, sockets_held)
    if abuse.__name__ in os.environ.get("ABUSE", abuse.__name__).split(",")
)
"""All of them, or those that ``ABUSE`` names in the environment."""
QUICK = tuple(abuse for abuse in ABUSES if abuse in {aborted, eats_memory, sockets_held})
"""Those that need not wait until a process counts as hung."""


@contextlib.contextmanager
def index_locked(machine: Machine) -> Iterator[None]:
    """Hold the index as a backup does, with BEGIN IMMEDIATE."""
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None); "
        "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()"
    )
    command = ["python3", "-c", code, str(machine.state / "outbox.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            holder.stdin.close()
