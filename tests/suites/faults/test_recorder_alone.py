"""The recorder without a deliverer, without its memory, and under a binding that changes; real processes, as root."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from acceptance import Machine, machine, server, wait_for
from owners import ANNA, BERT, NEW, OLD, bind, owners
from speech import speech, write_wav
from test_disk_faults import RATE, card, gaps, small_machine

from agent.sandbox.server import SandboxServer
from agent.token.store import Token

__all__ = ["machine", "server"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems")

WITHIN = 90.0


@contextlib.contextmanager
def recorder_only(machine: Machine) -> Iterator[subprocess.Popen[str]]:
    """Keep a recorder going beside no deliverer."""
    with (
        (machine.folder / "recorder.log").open("a") as log,
        machine.popen("run", "--only", "recorder", stderr=log) as process,
    ):
        try:
            wait_for(lambda: status(machine)["state"] == "recording", WITHIN)
            yield process
        finally:
            process.kill()
    assert "Traceback" not in (machine.folder / "recorder.log").read_text()


def status(machine: Machine) -> dict[str, object]:
    """Return what ``status`` says."""
    answer: dict[str, object] = machine.ok("status", "--json").json
    return answer


def fill_until(machine: Machine, tmp_path: Path, condition: Callable[[], bool]) -> None:
    """Record long files beside the recorder until something is so."""
    wav = write_wav(tmp_path / "long.wav", RATE, 2, speech(RATE, 2, 60 * RATE))
    end = time.monotonic() + 2 * WITHIN
    while not condition():
        assert time.monotonic() < end
        machine.run("record", "--input", str(wav))


def sequences(machine: Machine) -> list[int]:
    """Return the numbers that files in the state directory bear, of open and of finished ones."""
    return sorted(int(path.name.split("-")[1]) for path in machine.state.glob("*/*.opus*"))


def test_a_full_card_that_may_drop_nothing(tmp_path: Path) -> None:
    """Nobody delivers: it stops, says why, and drops nothing; once a ``sync`` has made room it goes on."""
    with card(tmp_path / "card") as folder, SandboxServer(tmp_path / "sandbox") as server:
        machine = small_machine(tmp_path, folder, server)
        with recorder_only(machine) as process:
            fill_until(machine, tmp_path, lambda: status(machine)["state"] == "storage_full")
            assert status(machine)["delivery"] == "stopped"
            assert gaps(machine, "dropped") == []
            before = {row["id"] for row in machine.queue()}
            machine.run("sync")
            wait_for(lambda: status(machine)["state"] == "recording", WITHIN)
            process.terminate()
            assert process.wait(10) == 0
        machine.run("sync")
        assert {row["status"] for row in machine.queue()} == {"uploaded"}
        recordings = server.state.recordings.by_id.values()
        assert before <= {recording.metadata["client_recording_id"] for recording in recordings}
        assert gaps(machine, "storage")
        assert gaps(machine, "dropped") == []


def test_a_full_card_that_may_drop_the_oldest(tmp_path: Path) -> None:
    """Nobody delivers: the recorder itself drops the oldest, each in the gap log, and goes on."""
    with card(tmp_path / "card") as folder:
        machine = small_machine(tmp_path, folder, None, when_full="drop_oldest")
        with recorder_only(machine) as process:
            fill_until(machine, tmp_path, lambda: len(gaps(machine, "dropped")) >= 2)
            wait_for(lambda: status(machine)["state"] == "recording", WITHIN)
            assert status(machine)["delivery"] == "stopped"
            process.terminate()
            assert process.wait(10) == 0
        left, dropped = sequences(machine), len(gaps(machine, "dropped"))
        last = json.loads((machine.state / "recorder.json").read_bytes())["next_seq"] - 1
        assert len(left) + dropped == last
        assert left == sorted(set(left))


def hearing(machine: Machine, tmp_path: Path, segment_seconds: int) -> None:
    """Let a machine record speech without an end."""
    loop = write_wav(tmp_path / "loop.wav", 16_000, 1, speech(16_000, 1, 20 * 16_000))
    machine.configure(
        audio={"input": f"file:{loop}?loop"},
        recording={"mode": "continuous", "segment_seconds": segment_seconds},
        heartbeat={"enabled": False},
    )


def test_a_binding_that_changes_in_the_middle_of_a_file(
    machine: Machine, server: SandboxServer, tmp_path: Path
) -> None:
    """The file is cut there: what was heard before is held for the one before, what comes after is the new one's."""
    hearing(machine, tmp_path, 600)
    machine.token_file.unlink()
    machine.configure(api={"token_file": ""})
    bind(server, OLD, ANNA)
    machine.ok("token", "set", stdin=OLD)
    with machine.daemon() as daemon:
        wait_for(lambda: (daemon.status()["recording"] or {"duration_ms": 0})["duration_ms"] > 3000, WITHIN)
        bind(server, NEW, BERT)
        machine.ok("token", "set", stdin=NEW)
        wait_for(lambda: len(list(machine.state.glob("outbox/*.json"))) == 1, WITHIN)
        time.sleep(3)
        assert daemon.stop() == 0
    machine.run("sync")
    rows = machine.queue()
    assert [row["status"] for row in rows] == ["held", "uploaded"]
    bindings = [json.loads(Path(row["path"]).with_suffix(".json").read_bytes())["lineage"] for row in rows]
    assert bindings == [Token(OLD).fingerprint, Token(NEW).fingerprint]
    assert owners(server) == {rows[1]["id"]: BERT}
    assert [row["segment"] for row in rows] == [1, 2]
    assert rows[0]["ended_at"] == rows[1]["started_at"]


@pytest.mark.parametrize("how", ["gone", "torn", "kill"])
def test_a_lost_memory_is_counted_on_from_the_files(machine: Machine, tmp_path: Path, how: str) -> None:
    """Without ``recorder.json``, after a stop or a kill: no number comes twice, and the absence is in the gaps once."""
    hearing(machine, tmp_path, 2)
    with recorder_only(machine) as process:
        wait_for(lambda: len(sequences(machine)) >= 3, WITHIN)
        process.kill() if how == "kill" else process.terminate()
        process.wait(10)
    before = sequences(machine)
    memory = machine.state / "recorder.json"
    memory.write_bytes(memory.read_bytes()[:40]) if how == "torn" else memory.unlink()
    time.sleep(2)
    with recorder_only(machine) as process:
        wait_for(lambda: len(sequences(machine)) >= len(before) + 2, WITHIN)
        process.terminate()
        assert process.wait(10) == 0
    after = sequences(machine)
    assert after[: len(before)] == before
    assert len(set(after)) == len(after)
    assert min(after[len(before) :]) == max(before) + 1
    absences = [gap for gap in gaps(machine, "not_running") if gap["seconds"] is None or gap["seconds"] > 1.5]
    assert 1 <= len(absences) <= 2
