"""What the running service costs: memory of its three processes, wake-ups, bytes written, processor."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench_device import FOLDER, Device, environment
from virtual_microphone import VirtualMicrophone

from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.server import SandboxServer

LEAST_SECONDS = 10.0
"""How long the daemon has run before it is looked at."""
DELIVERY_SECONDS = 60.0
CAPTURE, DELIVERER = b"agent.capture.child", b"deliverer"
"""What the command lines of the recorder's children hold."""
_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ (\S+) \S+ (\d+)")


class Footprint(NamedTuple):
    """Memory of one process in MiB."""

    pss: float
    """Proportional set size: what is shared counts in parts."""
    alone: float
    """The same, as if the processes of the service were the only ones of the machine."""
    rss: float


class Activity(NamedTuple):
    """What a process does in a second."""

    wake_ups: float
    """Voluntary context switches of all its threads."""
    written: float
    """Bytes handed to the disk."""
    cpu: float
    """Of one processor."""


class Resident(NamedTuple):
    """One process, looked at."""

    footprint: Footprint
    activity: Activity


class Residents(NamedTuple):
    """The processes of the service."""

    recorder: Resident
    deliverer: Resident
    capture: Resident | None
    """None while nothing is recorded: there is no such process then."""
    delivered: int
    """Recordings that the sandbox had by then."""


def measure(
    device: Device, wav: Path, window_seconds: float, *, mode: str = "continuous", control: str = ""
) -> Residents:
    """Run the service on speech out of a virtual microphone, with a delivery and heartbeats, and look at it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, speaking(Path(name), wav) as hearing:
        folder = Path(name)
        with SandboxServer(folder / "sandbox") as sandbox:
            config = folder / "config.toml"
            config.write_text(
                f'[api]\nbase_url = "{sandbox.base_url}"\n[storage]\ndirectory = "{folder / "state"}"\n'
                f'[recording]\nmode = "{mode}"\n'
            )
            prepare(device, config, hearing)
            began = time.monotonic()
            with daemon(device, config, environment(hearing, control), folder / "log") as main:
                _wait_for_delivery(sandbox, main, folder / "log")
                time.sleep(max(0.0, began + LEAST_SECONDS - time.monotonic()))
                return _look(main.pid, window_seconds, delivered=_uploaded(sandbox))


@contextmanager
def speaking(folder: Path, wav: Path) -> Iterator[dict[str, str]]:
    """Start a microphone that hears the file, and give the environment to hear it in."""
    microphone = VirtualMicrophone(folder / "microphone")
    microphone.start()
    again_and_again = ["sh", "-c", 'while paplay -d vmic "$0"; do :; done', str(wav)]
    player = subprocess.Popen(again_and_again, env=microphone.env, start_new_session=True)
    try:
        yield environment(microphone.env)
    finally:
        os.killpg(player.pid, signal.SIGKILL)
        player.wait()
        microphone.stop()


def prepare(device: Device, config: Path, env: dict[str, str]) -> None:
    """Give the device its token, and something to deliver."""
    short = str(FOLDER / "start-up.wav")
    for arguments in (["token", "set"], ["record", "--input", short]):
        command = device.agent(config, *arguments)
        subprocess.run(
            command, input=f"{DEFAULT_TOKEN}\n".encode(), env=env, stdout=subprocess.DEVNULL, check=True
        )


@contextmanager
def daemon(device: Device, config: Path, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("wb") as words,
        subprocess.Popen(
            device.agent(config, "run"), env=env, stdin=subprocess.DEVNULL, stdout=words, stderr=words
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


def _wait_for_delivery(sandbox: SandboxServer, main: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + DELIVERY_SECONDS
    while not _uploaded(sandbox):
        if main.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the daemon has delivered nothing:\n{log.read_text(errors='replace')}")
        time.sleep(0.2)


def _uploaded(sandbox: SandboxServer) -> int:
    return sum(recording.status == "uploaded" for recording in sandbox.state.recordings.by_id.values())


def _look(recorder: int, window_seconds: float, *, delivered: int) -> Residents:
    capture = child_of(recorder, CAPTURE)
    deliverer = child_of(recorder, DELIVERER)
    if deliverer is None:
        raise SystemExit("there is no deliverer")
    pids = [recorder, deliverer] + ([] if capture is None else [capture])
    before = {pid: _counters(pid) for pid in pids}
    time.sleep(window_seconds)
    found = [
        Resident(
            _footprint(pid, [other for other in pids if other != pid]),
            Activity(
                *((new - old) / window_seconds for new, old in zip(_counters(pid), before[pid], strict=True))
            ),
        )
        for pid in pids
    ]
    return Residents(found[0], found[1], found[2] if capture is not None else None, delivered)


def child_of(recorder: int, marked: bytes) -> int | None:
    """Return the child of the recorder whose command line holds this mark."""
    for task in Path(f"/proc/{recorder}/task").iterdir():
        for child in (task / "children").read_text().split():
            if marked in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


def _counters(pid: int) -> tuple[float, float, float]:
    """Return wake-ups, bytes written and CPU seconds since the process began."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    wake_ups = sum(figure((task / "status").read_text(), "voluntary_ctxt_switches") for task in tasks)
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    written = figure(Path(f"/proc/{pid}/io").read_text(), "write_bytes")
    return wake_ups, written, (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _footprint(pid: int, others: Sequence[int]) -> Footprint:
    """Return the memory of one of the processes; a file that several have mapped is taken to be shared page by page."""
    mine = _file_pages(pid)
    theirs = [_file_pages(other) for other in others]
    files = sum(
        kib / (1 + sum(min(kib, pages[mapping]) / kib for pages in theirs))
        for mapping, kib in mine.items()
        if kib > 0
    )
    anonymous = _kib(pid, "smaps_rollup", "Pss_Anon")
    return Footprint(
        pss=_kib(pid, "smaps_rollup", "Pss") / 1024,
        alone=(anonymous + files) / 1024,
        rss=_kib(pid, "smaps_rollup", "Rss") / 1024,
    )


def _file_pages(pid: int) -> Counter[tuple[str, str]]:
    """Return the KiB in memory of each part of a file that a process has mapped, by inode and offset."""
    found: Counter[tuple[str, str]] = Counter()
    mapping = ("0", "")
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        header = _MAPPING.match(line)
        if header:
            mapping = (header[2], header[1])
        elif mapping[0] != "0" and line.startswith(("Rss:", "Anonymous:")):
            name, kib, _unit = line.split()
            found[mapping] += int(kib) if name == "Rss:" else -int(kib)
    return found


def _kib(pid: int, file: str, name: str) -> int:
    return figure(Path(f"/proc/{pid}/{file}").read_text(), name)


def figure(text: str, name: str) -> int:
    """Return what a file of /proc says under a name."""
    found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
    assert found, name
    return int(found[1])
