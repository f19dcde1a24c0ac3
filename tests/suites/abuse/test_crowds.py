"""Bad company at both sockets of the two real processes, at 48 kHz stereo: is one sample lost, and do they stay small?

The virtual microphone plays numbered slots (see test_abuse); whoever may connect can be silent, endless, quick or odd.
"""

import contextlib
import json
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from abuses import Bench, deliverer
from acceptance import Machine, server, wait_for
from code_microphone import CodeMicrophone
from connecting import connected
from grammar import VALUES
from rig import fresh_seed, say
from test_abuse import heard, lived, lost, machine, microphone

from agent.control.server import ask
from agent.process.state_directory import StateDirectory

__all__ = ["machine", "microphone", "server"]

AGAIN_SECONDS = 10.0
FLAT_KIB = 6 * 1024
SILENT, ENDLESS, QUICK = 1100, 150, 10_000
FIELDS = ("command", "name", "text", "seconds", "metadata", "ids", "on", "detached", "dry_run", "unknown")
RECORDERS: dict[str, dict[str, object]] = {
    "status": {},
    "level": {},
    "stop": {},
    "mark": {},
    "number": {},
    "reload": {},
    "identify": {},
    "mute": {"on": False},
    "record": {"seconds": 1e9},
    "start": {"seconds": 1e9},
}
"""Each command of the recorder's socket with what keeps it from being obeyed where that would end or cut a file."""
DELIVERERS: dict[str, dict[str, object]] = {
    "status": {},
    "reload": {},
    "repair": {"dry_run": True},
    **{command: {"ids": ["no-such-recording"]} for command in ("retry", "release", "delete")},
}
TRULY_ASKED = {
    ("mute", "on", "true"),
    *(("delete", "ids", kind) for kind in ("null", "empty list")),
    *((command, "seconds", kind) for command in ("record", "start") for kind in ("null", "fraction")),
}
"""What a person may ask for, and gets."""


@pytest.fixture(autouse=True)
def _many_files() -> Iterator[None]:
    """Let this process have as many files as the test needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory(pid: int) -> int:
    """Return the resident memory of a process in KiB."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])


def answers_again(path: Path) -> float:
    """Return after how many seconds a socket answers."""
    began = time.monotonic()
    ask(path, {"command": "status"}, timeout=AGAIN_SECONDS)
    return time.monotonic() - began


def silent(path: Path) -> None:
    """Hold many connections that ask nothing, and ask in between."""
    with contextlib.ExitStack() as stack:
        for _ in range(SILENT):
            stack.enter_context(connected(path))
        say(f"{path.name}: answers beside {SILENT} silent ones after {answers_again(path):.2f} s")


def endless(path: Path) -> None:
    """Send a megabyte without a line's end, many times."""
    for _ in range(ENDLESS):
        with connected(path) as client, contextlib.suppress(OSError):
            client.sendall(b"x" * (1 << 20))


def quick(path: Path) -> None:
    """Connect and leave, with half a request now and then."""
    for number in range(QUICK):
        with connected(path) as client, contextlib.suppress(OSError):
            if number % 3 == 0:
                client.send(b'{"command":')


def odd(path: Path) -> None:
    """Send each command with each of its fields absurd; each is answered by a result or a sentence."""
    commands = RECORDERS if path.name == "control.sock" else DELIVERERS
    rng = fresh_seed()
    asked = 0
    for command, base in commands.items():
        for field in FIELDS:
            for kind in rng.sample(sorted(VALUES), len(VALUES)):
                if (command, field, kind) not in TRULY_ASKED:
                    rest = json.dumps({"command": command, **base, field: "MARK"})
                    check_answer(path, rest.replace('"MARK"', VALUES[kind], 1).encode())
                    asked += 1
    for _ in range(500):
        check_answer(path, rng.randbytes(rng.randrange(300)).replace(b"\n", b""))
    say(f"{path.name}: {asked} odd requests answered")


def check_answer(path: Path, line: bytes) -> None:
    """Send a line and read its answer."""
    with connected(path) as client, client.makefile("rb") as reader:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(line + b"\n")
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = reader.readline()
    if answer:
        given = json.loads(answer)
        assert given.keys() <= {"result", "error", "exit_code", "event"}, given
        assert len(given.get("error", "")) < 2100
    else:
        assert len(line) > 65_000, line[:200]


Company = Callable[[Path], None]


@pytest.mark.parametrize("company", [silent, endless, quick, odd])
def test_bad_company_costs_no_sample(machine: Machine, microphone: CodeMicrophone, company: Company) -> None:
    """At both sockets: not a sample is lost, memory stays flat, and it answers again within 10 s."""
    grown: list[str] = []

    def abuse(bench: Bench) -> None:
        daemon = bench.daemon
        state = StateDirectory(machine.state, machine.state)
        pids = {"recorder": daemon.process.pid, "deliverer": deliverer(machine)}
        for path in (state.socket, state.delivery_socket):
            answers_again(path)
        before = {name: memory(pid) for name, pid in pids.items() if pid is not None}
        for path in (state.socket, state.delivery_socket):
            company(path)
            say(f"{path.name}: answers again after {answers_again(path):.2f} s")
        wait_for(lambda: daemon.status()["state"] == "recording")
        for name, kib in before.items():
            now = memory(pids[name] or 0)
            say(f"{name}: {kib} KiB before, {now} KiB after")
            if now - kib > FLAT_KIB:
                grown.append(f"the {name} grew from {kib} to {now} KiB")
        assert deliverer(machine) == pids["deliverer"]

    lived(machine, microphone, [abuse])
    assert lost(heard(machine)) == []
    assert grown == []
    assert {gap["cause"] for gap in machine.ok("gaps", "--json").json} <= {"not_running"}
