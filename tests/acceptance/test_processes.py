"""Two real processes: what each has loaded and open, and that neither needs the other."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from acceptance import Machine, end_deliverer, machine, server, wait_for
from process_limits import NOT_IN_THE_RECORDER
from speech import speech, write_wav

from agent.process.state_directory import Process, StateDirectory
from agent.process.state_lock import holder_of

__all__ = ["machine", "server"]

RATE = 16_000
IMPORTED = re.compile(r"import time: .*\| +(\S+)$", re.MULTILINE)
NOT_IN_THE_DELIVERER = {"pyaudio", "opuslib", "agent.recorder.process"}
MAPPED_BY_NETWORK = ("_ssl", "_sqlite3", "libssl", "libsqlite3")
MAPPED_BY_SOUND = ("libportaudio", "libopus", "libasound")


@pytest.fixture
def hearing(machine: Machine, tmp_path: Path) -> Machine:
    """A machine that records speech without an end, in files of two seconds."""
    loop = write_wav(tmp_path / "loop.wav", RATE, 1, speech(RATE, 1, 20 * RATE))
    machine.configure(
        audio={"input": f"file:{loop}?loop"},
        recording={"segment_seconds": 2},
        heartbeat={"enabled": False},
    )
    return machine


@contextmanager
def only(machine: Machine, process: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Keep one of the two processes running, its imports in its log."""
    program = [sys.executable, "-P", *options, "-c", "from agent.cli import main; main()"]
    command = [*program, "--config", str(machine.config_file), "run", "--only", process]
    with (
        (machine.folder / f"{process}.log").open("w") as log,
        subprocess.Popen(
            command, text=True, env=machine.environment, cwd=machine.folder, stderr=log
        ) as running,
    ):
        try:
            wait_for(lambda: folder_of(machine).is_locked(Process(process)) or running.poll() is not None)
            yield running
        finally:
            running.kill()


def folder_of(machine: Machine) -> StateDirectory:
    """Return the state directory as processes see it."""
    return StateDirectory(machine.state, machine.state)


def imports(machine: Machine, process: str) -> set[str]:
    """Return the modules that a process has imported so far."""
    return set(IMPORTED.findall((machine.folder / f"{process}.log").read_text()))


def mapped(pid: int) -> str:
    """Return the files that a process has mapped."""
    return Path(f"/proc/{pid}/maps").read_text()


def open_files(pid: int) -> set[str]:
    """Return what the descriptors of a process lead to."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(str(descriptor.readlink()))
        except FileNotFoundError:
            continue
    return found


def internet_sockets(pid: int) -> set[str]:
    """Return the sockets of the internet family that a process has open."""
    inodes = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        inodes |= {f"socket:[{line.split()[9]}]" for line in lines}
    return inodes & open_files(pid)


def state_of(machine: Machine) -> str:
    """Return the state that ``status`` shows."""
    return str(machine.ok("status", "--json").json["state"])


def finished(machine: Machine) -> int:
    """Return how many finished files there are."""
    return sum(len(list((machine.state / name).glob("*.json"))) for name in ("outbox", "sent"))


def of(modules: set[str], forbidden: set[str]) -> set[str]:
    """Return which of the forbidden modules, or modules inside them, are among some."""
    return {name for name in forbidden if any(f"{module}.".startswith(f"{name}.") for module in modules)}


@pytest.mark.root
def test_each_has_only_what_it_needs(hearing: Machine) -> None:
    """Modules, mapped libraries, descriptors and sockets, after both have recorded and delivered.

    Root alone may look into a process that holds the token.
    """
    timed = ("-X", "importtime")
    with only(hearing, "recorder", *timed) as recorder, only(hearing, "deliverer", *timed) as deliverer:
        wait_for(lambda: len(list((hearing.state / "sent").glob("*.opus"))) >= 1)
        assert of(imports(hearing, "recorder"), NOT_IN_THE_RECORDER) == set()
        assert of(imports(hearing, "deliverer"), NOT_IN_THE_DELIVERER) == set()
        assert "agent.recording.recorder" in imports(hearing, "recorder")
        assert "httpx" in imports(hearing, "deliverer")
        assert not [name for name in MAPPED_BY_NETWORK if name in mapped(recorder.pid)]
        assert not [name for name in MAPPED_BY_SOUND if name in mapped(deliverer.pid)]
        assert "libopus" in mapped(recorder.pid)
        assert not [name for name in open_files(recorder.pid) if "outbox.db" in name or "/token" in name]
        assert not [name for name in open_files(deliverer.pid) if "/dev/snd" in name]
        assert internet_sockets(recorder.pid) == set()
        for process in (recorder, deliverer):
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0


def test_the_control_sees_a_socket() -> None:
    """What looks for sockets of the internet family finds one of this process."""
    with socket.create_server(("127.0.0.1", 0)):
        assert len(internet_sockets(os.getpid())) >= 1


def test_the_recorder_needs_no_deliverer(hearing: Machine) -> None:
    """It records and says that delivery is stopped; a deliverer that comes later sends all of it."""
    with only(hearing, "recorder") as recorder:
        wait_for(lambda: finished(hearing) >= 2)
        now = hearing.ok("status", "--json").json
        assert (now["state"], now["delivery"]) == ("recording", "stopped")
        said = {row["check"]: row for row in hearing.run("doctor", "--json").json}["delivery"]
        assert (said["state"], "run" in said["hint"]) == ("critical", True), said
        listed = [row["status"] for row in hearing.queue()]
        assert listed.count("ready") >= 2
        with only(hearing, "deliverer") as deliverer:
            wait_for(lambda: len(list((hearing.state / "sent").glob("*.opus"))) >= 2)
            now = hearing.ok("status", "--json").json
            assert (now["state"], now["delivery"], now["online"]) == ("recording", "running", True)
            deliverer.terminate()
            assert deliverer.wait(10) == 0
        recorder.terminate()
        assert recorder.wait(10) == 0
    hearing.ok("sync")
    assert {row["status"] for row in hearing.queue()} == {"uploaded"}


def test_the_deliverer_needs_no_recorder(hearing: Machine) -> None:
    """It delivers what was recorded, and says that the recorder is stopped."""
    with only(hearing, "recorder") as recorder:
        wait_for(lambda: finished(hearing) >= 2)
        recorder.kill()
        recorder.wait()
    with only(hearing, "deliverer") as deliverer:
        wait_for(lambda: not list((hearing.state / "outbox").glob("*.opus")))
        wait_for(lambda: hearing.ok("status", "--json").json["pending"] == 0)
        now = hearing.ok("status", "--json").json
        assert (now["state"], now["delivery"]) == ("stopped", "running")
        assert not list((hearing.state / "recording").iterdir())
        deliverer.terminate()
        assert deliverer.wait(10) == 0
    assert {row["recovered"] for row in hearing.queue()} <= {True, False}


def test_run_starts_a_deliverer_again_and_keeps_one_that_was_left(
    hearing: Machine,
) -> None:
    """Killed, it is started anew; when the recorder is killed it lives on, and the next ``run`` takes it over."""
    lock = folder_of(hearing).lock_of(Process.DELIVERER)
    with hearing.daemon() as daemon:
        wait_for(lambda: daemon.status()["delivery"] == "running")
        first = holder_of(lock)
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        wait_for(lambda: (holder_of(lock) or first).pid != first.pid)
        wait_for(lambda: folder_of(hearing).is_locked(Process.DELIVERER))
        second = holder_of(lock)
        assert second is not None
        daemon.process.kill()
        daemon.process.wait()
        assert Path(f"/proc/{second.pid}").exists()
        with hearing.popen("run", stderr=subprocess.DEVNULL) as again:
            try:
                wait_for(folder_of(hearing).is_locked)
                wait_for(lambda: state_of(hearing) == "recording")
                kept = holder_of(lock)
                assert kept is not None
                assert kept.pid == second.pid
                again.terminate()
                assert again.wait(10) == 0
            finally:
                again.kill()
        wait_for(lambda: not folder_of(hearing).is_locked(Process.DELIVERER))


def test_a_second_run_of_each_is_refused(hearing: Machine) -> None:
    """Exit 1 and one sentence, for both kinds."""
    for process in ("recorder", "deliverer"):
        with only(hearing, process):
            refused = hearing.run("run", "--only", process)
            assert refused.code == 1
            assert "another recorder-agent already works" in refused.err.splitlines()[-1]


def test_what_cannot_be_healed_is_a_state(hearing: Machine, tmp_path: Path) -> None:
    """An input that is no file does not end the process: it is shown, and tried again."""
    hearing.configure(audio={"input": f"file:{tmp_path / 'missing.wav'}"})
    with only(hearing, "recorder") as recorder:
        wait_for(lambda: hearing.ok("status", "--json").json["state"] == "fault")
        now = hearing.ok("status", "--json").json
        assert "missing.wav" in now["fault"]
        recorder.terminate()
        assert recorder.wait(10) == 0


def test_a_service_goes_on_with_the_last_good_settings(hearing: Machine) -> None:
    """Settings that are wrong: those it last started well with are used, and it says so; without any it exits 78."""
    hearing.environment |= {"STATE_DIRECTORY": str(hearing.state), "NOTIFY_SOCKET": "@nobody"}
    good = hearing.config_file.read_text()
    hearing.config_file.write_text("nonsense = 1\n")
    assert hearing.run("run", "--only", "recorder").code == 78
    hearing.config_file.write_text(good)
    kept = hearing.state / "config.last-good.toml"
    with only(hearing, "recorder") as recorder:
        wait_for(kept.exists)
        recorder.terminate()
        assert recorder.wait(10) == 0
    hearing.config_file.write_text("nonsense = 1\n")
    with only(hearing, "recorder") as recorder:
        file = folder_of(hearing)
        wait_for((file.runtime_of(Process.RECORDER) / "status.json").exists)
        shown = json.loads((file.runtime_of(Process.RECORDER) / "status.json").read_text())
        assert "nonsense" in shown["fault"]
        recorder.terminate()
        assert recorder.wait(10) == 0
    assert kept.read_text() == good
    end_deliverer(hearing.state)
