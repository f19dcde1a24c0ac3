"""Every command beside a running daemon, and the JSON they answer with."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from acceptance import Daemon, Json, Machine, machine, server, stored, wait_for
from speech import speech, write_wav

from agent.sandbox.faults import Call, Fault
from agent.sandbox.server import SandboxServer

RATE = 16_000
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TIMES = {"started_at", "ended_at", "next_attempt_at", "oldest_pending_at", "last_delivery_at", "until"}

ROW: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "seq": int,
    "session_id": str,
    "segment": int,
    "status": str,
    "started_at": str,
    "ended_at": (str, type(None)),
    "duration_ms": int,
    "size_bytes": int,
    "sha256": (str, type(None)),
    "path": str,
    "remote_id": (str, type(None)),
    "attempts": int,
    "last_error": (str, type(None)),
    "next_attempt_at": (str, type(None)),
    "metadata": dict,
    "verified": bool,
    "recovered": bool,
    "clock": str,
    "peak_dbfs": (float, type(None)),
    "rms_dbfs": (float, type(None)),
}
STATUS: dict[str, Any] = {
    "state": str,
    "recording": (dict, type(None)),
    "pending": int,
    "parked": int,
    "held": int,
    "oldest_pending_at": (str, type(None)),
    "last_delivery_at": (str, type(None)),
    "online": (bool, type(None)),
    "waiting": (dict, type(None)),
    "microphone": {
        "id": (str, type(None)),
        "name": str,
        "state": str,
        "level_dbfs": (float, int, type(None)),
        "quality": (str, type(None)),
    },
    "storage": {"free_mb": int, "full": bool, "in_memory": (bool, type(None))},
    "network": {"connection": (str, type(None)), "metered": (bool, type(None))},
    "delivery": str,
    "next_windows": list,
    "clock": {"synchronized": (bool, type(None)), "source": (str, type(None))},
    "credential": {"state": str, "fingerprint": (str, type(None))},
    "version": str,
}
RECORDING = {"id": str, "started_at": str, "duration_ms": int}


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """A second of speech."""
    return write_wav(tmp_path / "a.wav", RATE, 1, speech(RATE, 1, RATE))


def humming(pcm: bytes) -> bytes:
    """Return mono speech with a tone of -53 dBFS under it: its pauses are not digital silence."""
    voice = np.frombuffer(pcm, "<i2").astype(float)
    hum = 100 * np.sin(2 * np.pi * 440 / RATE * np.arange(len(voice)))
    heard: bytes = np.clip(voice + hum, -32768, 32767).astype("<i2").tobytes()
    return heard


@pytest.fixture
def daemon(machine: Machine, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that records speech without an end, in a room that hums."""
    loop = write_wav(tmp_path / "loop.wav", RATE, 1, humming(speech(RATE, 1, 20 * RATE)))
    machine.configure(audio={"input": f"file:{loop}?loop"})
    with machine.daemon() as running:
        wait_for(lambda: running.status()["recording"] is not None)
        yield running
        assert running.stop() == 0


def test_readers_beside_a_daemon(machine: Machine, daemon: Daemon) -> None:
    """``status``, ``queue list``, ``level``, ``token status`` and ``config show`` say what the daemon does."""
    wait_for(lambda: daemon.status()["recording"]["duration_ms"] > 1000)

    status = machine.ok("status", "--json").json
    (row,) = machine.queue()
    levels = machine.ok("level", "--seconds", "1", "--json").rows

    assert_shape(status, STATUS)
    assert_shape(status["recording"], RECORDING)
    assert (status["state"], status["microphone"]["state"]) == ("recording", "listening")
    assert_shape(row, ROW)
    assert (row["status"], row["id"]) == ("recording", status["recording"]["id"])
    assert Path(row["path"]).is_file()
    assert levels
    assert all(-80 < line["level_dbfs"] < 0 for line in levels)
    assert re.search(r"device token [0-9a-f]{8}", machine.ok("token", "status").out)
    assert f"file:{machine.folder.parent}/loop.wav?loop" in machine.ok("config", "show").out
    assert "recording" in machine.ok("status").out
    assert row["id"] in machine.ok("queue", "list").out


@pytest.mark.usefixtures("daemon")
def test_writers_beside_a_daemon(machine: Machine, server: SandboxServer, wav: Path) -> None:
    """``record --input`` writes its own file, the daemon delivers it for ``sync``, and ``delete`` removes it."""
    (row,) = machine.record(wav)
    assert_shape(row, ROW)
    assert machine.ok("sync", "--json").json["pending"] == 0
    (copy,) = stored(server, row["id"])
    assert copy.stat().st_size == row["size_bytes"]
    (shown,) = [machine.ok("queue", "show", row["id"], "--json").json]
    assert_shape(shown, ROW)
    assert shown["status"] == "uploaded"

    assert machine.ok("queue", "delete", row["id"]).out == f"deleted {row['id']}\n"

    assert row["id"] not in [each["id"] for each in machine.queue()]
    assert not Path(shown["path"]).exists()


def test_the_parked_beside_a_daemon(
    machine: Machine, daemon: Daemon, server: SandboxServer, wav: Path, tmp_path: Path
) -> None:
    """``sync`` parks what the API refuses and exits 1, ``export`` copies it, ``retry`` makes the daemon send it."""
    server.faults.add(Fault(Call.CREATE, status=422, body={"error": {"code": "x", "message": "No."}}))
    (row,) = machine.record(wav)
    daemon.process.send_signal(signal.SIGHUP)  # a reload disturbs nothing

    first = machine.run("sync")
    if first.code == 0:  # the daemon was first and has parked it by itself
        assert "parked 1" in first.out
    else:
        assert "parked" in first.sentence(1)
    (parked,) = [each for each in machine.queue() if each["status"] == "parked"]
    assert parked["id"] == row["id"]
    assert "422" in parked["last_error"]

    machine.ok("queue", "export", tmp_path / "copies")
    assert (tmp_path / "copies" / Path(row["path"]).name).stat().st_size == row["size_bytes"]

    assert machine.ok("queue", "retry", "--all").out == f"trying again {row['id']}\n"
    wait_for(lambda: bool(stored(server, row["id"])))


def test_a_second_daemon_is_refused(machine: Machine, daemon: Daemon) -> None:
    """Two on one state directory would write into each other's files: the second exits 1, the first goes on."""
    run = machine.run("run")
    assert run.code == 1
    assert run.err.splitlines()[-1].startswith("recorder-agent: another recorder-agent already works on ")
    assert daemon.status()["state"] == "recording"


def test_status_without_a_daemon(machine: Machine, daemon: Daemon) -> None:
    """After the daemon's end ``status`` still answers, exit 0, with what waits, by the same contract."""
    machine.configure(api={"base_url": "http://127.0.0.1:1/v1"})
    assert daemon.stop() == 0

    status = machine.ok("status", "--json").json

    assert_shape(status, STATUS)
    assert (status["state"], status["recording"], status["pending"]) == ("stopped", None, 1)
    assert status["oldest_pending_at"] == machine.queue()[0]["started_at"]
    assert "stopped" in machine.ok("status").out


def test_an_empty_queue_is_drained_in_no_time(machine: Machine) -> None:
    """Where nothing waits ``drain_seconds`` is 0, also when nobody runs who could say."""
    status = machine.ok("status", "--json").json
    assert (status["state"], status["pending"], status["drain_seconds"]) == ("stopped", 0, 0)


def assert_shape(value: Json, shape: dict[str, Any]) -> None:
    """Assert that an answer has at least these fields, of these types, its times and paths as promised."""
    assert not set(shape) - set(value)
    for key, kind in shape.items():
        if isinstance(kind, dict):
            assert_shape(value[key], kind)
        else:
            assert isinstance(value[key], kind), (key, value[key])
            assert not (isinstance(value[key], bool) and kind is int), key
    for key, text in value.items():
        if key in TIMES and text is not None:
            assert TIME.fullmatch(text), (key, text)
        if key == "path":
            assert Path(text).is_absolute()
