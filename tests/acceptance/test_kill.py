"""SIGKILL at random moments while it records and delivers: nothing finished is lost, nothing is stored twice.

``KILL_SEED`` in the environment repeats a run's moments, as far as processes can be repeated.
"""

import asyncio
import hashlib
import itertools
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec
import pytest
from acceptance import PROGRAM, Machine, end_deliverer, wait_for
from opusfile import complaints
from speech import speech, write_wav
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.sandbox.server import SandboxServer

SEED = os.environ.get("KILL_SEED") or str(secrets.randbits(32))
RATE = 16_000
ANSWER_SECONDS = 0.15
"""No answer of the API takes longer; it leaves time for a kill between the work and the news of it."""
ENDING_SECONDS = 20.0
"""A deliverer that has lost its recorder has ended by then, on a busy machine too."""
WITHOUT_REPAIR = """
from agent.index.repair import Repair
from agent.recorder.supervisor import Supervisor
Repair.open_file = lambda self, path: None
Supervisor.turn = lambda self: None
from agent.cli import main
main()
"""
"""The agent without the step that takes up what a crash left: the control that the witness can see a loss."""


class Life(NamedTuple):
    """What is started, and how many seconds after it has begun to work it is killed."""

    command: str
    shortest: float
    longest: float


@dataclass(frozen=True)
class Plan:
    """What one machine goes through."""

    honoured: bool = True
    """Whether the server honours the Idempotency-Key."""
    segment_seconds: int = 1
    lives: tuple[Life, ...] = (
        Life("run", 0.4, 4.0),
        Life("sync", 0, 0.4),
        Life("run", 0.4, 4.0),
        Life("record", 0, 0.15),
        Life("start", 0, 1.5),
    )
    """In turn; ``start`` is a daemon that is not waited for."""
    kills: int = 20
    program: tuple[str | Path, ...] = (PROGRAM,)


PLANS = {
    "honoured": Plan(),
    "ignored": Plan(honoured=False, segment_seconds=2),
    "broken": Plan(
        segment_seconds=60,
        lives=(Life("run", 1.2, 2), Life("record", 2, 2)),
        kills=3,
        program=(sys.executable, "-c", WITHOUT_REPAIR),
    ),
}


class SlowSandbox(SandboxServer):
    """Gives each answer a while after the work was done."""

    def build(self) -> ASGIApp:
        """Return the application behind the delay."""
        quick = super().build()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            async def late(message: Message) -> None:
                if message["type"] == "http.response.start":
                    await asyncio.sleep(Random().uniform(0, ANSWER_SECONDS))
                await send(message)

            await quick(scope, receive, late)

        return slow


class Witness:
    """Looks at the files between two lives of the agent, and judges what the server holds in the end."""

    def __init__(self, machine: Machine, server: SandboxServer) -> None:
        self._machine = machine
        self.server = server
        self.finished: dict[str, str] = {}
        """SHA-256 by local id, of all that ever lay in ``outbox/`` or ``sent/``, or had a row with sound."""
        self.captured: dict[str, int] = {}
        """Samples by local id that the torn files gave to opusdec."""
        self.complaints: list[str] = []

    def look(self) -> None:
        """Take note of everything there is; only while no agent runs."""
        for folder in ("outbox", "sent"):
            for path in (self._machine.state / folder).glob("*.opus"):
                self._note(path.stem[-36:], sha256(path))
        for path in (self._machine.state / "recording").glob("*.opus.part"):
            local_id = path.name.removesuffix(".opus.part")[-36:]
            self.captured[local_id] = max(samples(path), self.captured.get(local_id, 0))
        for local_id, digest in self._rows():
            self._note(local_id, digest)

    def judge(self) -> list[str]:
        """Return what is wrong: one sentence each."""
        self.look()
        held = self.held()
        for local_id, digest in self.finished.items():
            if not held.get(local_id):
                self.complaints.append(f"{local_id} was finished and is lost")
            elif {sha256(path) for path in held[local_id]} != {digest}:
                self.complaints.append(f"{local_id} was changed on its way")
        for local_id, count in self.captured.items():
            if count > 0 and not held.get(local_id):
                self.complaints.append(f"{local_id} was captured and is lost")
            elif count > 0 and samples(held[local_id][0]) < count:
                self.complaints.append(f"{local_id} lost its end")
        for local_id, paths in held.items():
            if len({path.parent for path in paths}) > 1:
                self.complaints.append(f"{local_id} is on the server {len(paths)} times")
            if complaints(paths[0]) or samples(paths[0]) == 0:
                self.complaints.append(f"{local_id} cannot be played")
        left = list((self._machine.state / "recording").iterdir())
        return self.complaints + [f"{path.name} was left" for path in left]

    def _note(self, local_id: str, digest: str) -> None:
        if self.finished.setdefault(local_id, digest) != digest:
            self.complaints.append(f"{local_id} was changed after it was finished")

    def _rows(self) -> list[tuple[str, str]]:
        """Read a copy of the index: opening the index itself would repair it."""
        if not (self._machine.state / "outbox.db").exists():
            return []
        copy = self._machine.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for path in self._machine.state.glob("outbox.db*"):
            shutil.copy(path, copy)
        connection = sqlite3.connect(copy / "outbox.db")
        try:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'recordings'").fetchone():
                return []
            return connection.execute("SELECT id, sha256 FROM recordings WHERE samples > 0").fetchall()
        finally:
            connection.close()

    def held(self) -> dict[str, list[Path]]:
        """Return the stored objects by the local id that their recording carries."""
        held: dict[str, list[Path]] = {}
        for recording in self.server.state.recordings.by_id.values():
            objects = list((self.server.objects / recording.id).glob("*"))
            if objects:
                held.setdefault(str(recording.metadata["client_recording_id"]), []).extend(objects)
        return held


def universe(folder: Path, plan: Plan) -> Witness:
    """Let one machine live and die by a plan beside a server of its own, then ``sync`` once; return the witness."""
    rng = Random(f"{SEED} {folder.name}")
    with SlowSandbox(folder / "sandbox") as server:
        server.state.set_switches({"honour_idempotency": plan.honoured})
        machine = Machine(folder / "machine", server)
        machine.program = list(plan.program)
        wav = write_wav(machine.folder / "loop.wav", RATE, 1, speech(RATE, 1, 30 * RATE))
        machine.configure(
            audio={"input": f"file:{wav}?loop"},
            recording={"segment_seconds": plan.segment_seconds, "max_seconds": 5},
        )
        witness = Witness(machine, server)
        for life in itertools.islice(itertools.cycle(plan.lives), plan.kills):
            live(machine, server, life, rng)
            witness.look()
        last = machine.run("sync")
        deadline = time.monotonic() + ENDING_SECONDS
        while "already works" in last.err and time.monotonic() < deadline:
            last = machine.run("sync")
        if last.code != 0:
            witness.complaints.append(f"the last sync ended with {last.code}: {last.err}")
    return witness


def live(machine: Machine, server: SandboxServer, life: Life, rng: Random) -> None:
    """Start a process, wait until it works, and kill it at a random moment."""
    works = beginning(machine, server, life.command)
    arguments = {"start": ("run",), "record": ("record", "--input", machine.folder / "loop.wav")}
    with (machine.folder / "said").open("a") as said:
        process = machine.popen(*arguments.get(life.command, (life.command,)), stdout=said, stderr=said)
    wait_for(lambda: works() or process.poll() is not None)
    time.sleep(rng.uniform(life.shortest, life.longest))
    process.kill()
    process.wait()
    end_deliverer(machine.state)


def beginning(machine: Machine, server: SandboxServer, kind: str) -> Callable[[], bool]:
    """Return what tells that the process about to be started has begun to work."""
    said, recording = machine.folder / "said", machine.state / "recording"
    length = said.stat().st_size if said.exists() else 0
    requests, files = len(server.requests()), set(recording.glob("*"))
    signs = {
        "run": lambda: "daemon_started" in said.read_text()[length:],
        "sync": lambda: len(server.requests()) > requests,
        "record": lambda: bool(set(recording.glob("*")) - files),
    }
    return signs.get(kind, lambda: True)


@pytest.fixture(scope="module")
def universes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Witness]]]:
    """Three machines at the same time: processes mostly wait."""
    folder = tmp_path_factory.mktemp("kill")
    with ThreadPoolExecutor(len(PLANS)) as pool:
        yield {name: pool.submit(universe, folder / name, plan) for name, plan in PLANS.items()}


@pytest.mark.parametrize("idempotency", ["honoured", "ignored"])
def test_nothing_is_lost_and_nothing_is_twice(
    universes: dict[str, Future[Witness]], idempotency: str
) -> None:
    """After 20 kills and one ``sync`` the server holds each recording once, whole, whatever it does with keys."""
    print(f"KILL_SEED={SEED}")
    witness = universes[idempotency].result()
    assert witness.judge() == []
    assert len(witness.finished) >= 5


def test_the_kills_hit_open_files(universes: dict[str, Future[Witness]]) -> None:
    """Control: some of the kills met a file that held sound already."""
    captured = [count for universe in universes.values() for count in universe.result().captured.values()]
    assert any(captured)


def test_the_witness_sees_a_loss(universes: dict[str, Future[Witness]]) -> None:
    """Control: without the repair of open files what kills left behind is never delivered, and the witness says so."""
    assert any("captured and is lost" in sentence for sentence in universes["broken"].result().judge())


def test_the_witness_sees_a_copy(universes: dict[str, Future[Witness]]) -> None:
    """Control: a second recording on the server with the same audio does not escape the witness."""
    witness = universes["broken"].result()
    local_id, paths = next(iter(witness.held().items()))
    copy = paths[0].parents[1] / "rec_copy"
    shutil.copytree(paths[0].parent, copy)
    recordings = witness.server.state.book.entries.recordings
    recordings["rec_copy"] = msgspec.structs.replace(recordings[paths[0].parent.name], id="rec_copy")
    assert f"{local_id} is on the server 2 times" in witness.judge()


def sha256(path: Path) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def samples(path: Path) -> int:
    """Return how many samples opusdec gets out of a file, torn or not; 0 for none."""
    command = ["opusdec", "--quiet", "--rate", str(RATE), str(path), "-"]
    return len(subprocess.run(command, capture_output=True, check=False).stdout) // 2
