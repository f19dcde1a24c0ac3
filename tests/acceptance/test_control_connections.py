"""The control socket in bad company: whoever connects, it answers the others."""

import contextlib
import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance import Machine, machine, server, wait_for
from connecting import ANSWER_SECONDS, connected
from logcapture import capture_logs
from speech import speech, write_wav

from agent.control import server as control
from agent.control.messages import REQUEST_BYTES
from agent.control.server import ControlServer, NotRunning, Peer, Request, ask
from agent.process.state_directory import StateDirectory

__all__ = ["machine", "server"]

CHILD = Path(__file__).parents[1] / "support" / "control_child.py"
NOBODY = 65534


@contextlib.contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Path]:
    """Serve a socket in another process, for everybody."""
    for parent in (folder, *folder.parents):
        if not parent.stat().st_mode & 0o001:  # the folders pytest makes for its user
            parent.chmod(parent.stat().st_mode | 0o011)
    path = folder / "control.sock"
    command = [sys.executable, str(CHILD), str(path), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "serves\n"
        try:
            yield path
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    with serving(tmp_path) as path:
        yield path


@pytest.fixture
def _many_files() -> Iterator[None]:
    """Let this process have as many files as the test needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def facts(path: Path) -> dict[str, int]:
    """Ask the process how it is; it must answer in time."""
    started = time.monotonic()
    answer: dict[str, int] = ask(path, {"command": "facts"}, timeout=ANSWER_SECONDS)
    assert time.monotonic() - started < ANSWER_SECONDS
    return answer


@pytest.mark.usefixtures("_many_files")
def test_silent_connections_take_nobodys_place(path: Path) -> None:
    """1,100 that ask nothing are held open: it answers all the same, and keeps 32 of them at most."""
    before = facts(path)
    with contextlib.ExitStack() as stack:
        for _ in range(1100):
            stack.enter_context(connected(path))
        during = facts(path)
    after = facts(path)
    assert during["descriptors"] - before["descriptors"] <= control.CONNECTIONS
    assert during["threads"] == before["threads"]
    assert during["rss_kib"] - before["rss_kib"] < 2048
    assert after["descriptors"] <= during["descriptors"]


def test_a_megabyte_without_an_end_is_cut(path: Path) -> None:
    """150 times, at once with others: each is told and cut at 64 kB, and memory stays flat."""
    facts(path)
    before = facts(path)
    for _ in range(150):
        with connected(path) as client, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(b"x" * (1 << 20))
    assert facts(path)["rss_kib"] - before["rss_kib"] < 4096
    with connected(path) as client:
        client.sendall(b"x" * REQUEST_BYTES)
        answer = json.loads(client.recv(4096))
        assert (answer["error"], answer["exit_code"]) == ("a request has at most 65536 bytes; send less", 2)
        assert client.recv(1) == b""


def test_ten_thousand_connections_in_a_row(path: Path) -> None:
    """Nothing of them stays."""
    facts(path)
    before = facts(path)
    for number in range(10_000):
        with connected(path) as client:
            if number % 3 == 0:
                client.send(b'{"command":')
    wait_for(lambda: facts(path)["descriptors"] <= before["descriptors"])
    assert facts(path)["rss_kib"] - before["rss_kib"] < 2048


def test_without_descriptors_it_waits_and_goes_on(tmp_path: Path) -> None:
    """EMFILE at accept ends nothing: when the silent ones are cut, others are served."""
    with serving(tmp_path, "24") as path, contextlib.ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(connected(path))
        assert facts(path)["descriptors"] <= 24


def test_an_idle_connection_is_cut_and_a_working_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 10 s (here 0.3) without a whole request, however slowly its bytes trickle in."""
    monkeypatch.setattr(control, "IDLE_SECONDS", 0.3)

    def slow(_request: Request, _peer: Peer) -> str:
        time.sleep(0.8)
        return "done"

    server = ControlServer(tmp_path / "control.sock", {"slow": slow})
    try:
        with connected(server.path) as idle:
            started = time.monotonic()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                while time.monotonic() - started < 5:
                    idle.send(b"x")
                    time.sleep(0.05)
            assert time.monotonic() - started < 5
        with connected(server.path) as client:
            for _ in range(2):
                client.sendall(b'{"command": "slow"}\n')
                assert json.loads(client.recv(4096)) == {"result": "done"}
    finally:
        server.close()


@pytest.mark.root
def test_others_cannot_take_the_owners_place(path: Path) -> None:
    """Strangers keep 24 of the 32 busy at most; the next of them is told, and the owner is answered."""
    crowd = (
        "import socket, sys\n"
        "held = []\n"
        "for _ in range(40):\n"
        "    peer = socket.socket(socket.AF_UNIX); peer.connect(sys.argv[1]); held.append(peer)\n"
        """    try: peer.sendall(b'{"command": "wait"}\\n')\n"""
        "    except BrokenPipeError: pass\n"
        "    peer.settimeout(0.1 if len(held) <= int(sys.argv[2]) else 10)\n"
        "    try: print(peer.recv(4096).decode().strip(), flush=True)\n"
        "    except TimeoutError: print('held', flush=True)\n"
        "print('all', flush=True); sys.stdin.read()\n"
    )
    command = ["/usr/bin/python3", "-c", crowd, str(path), str(control.CONNECTIONS_OF_OTHERS)]
    with subprocess.Popen(
        command,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    ) as process:
        assert process.stdout is not None
        told = []
        while (line := process.stdout.readline().strip()) != "all":
            assert line
            told.append(line)
        assert facts(path)["threads"] >= control.CONNECTIONS_OF_OTHERS
        process.kill()
    assert told.count("held") == control.CONNECTIONS_OF_OTHERS
    assert {json.loads(line)["exit_code"] for line in told if line != "held"} == {75}


def test_a_full_backlog_is_no_absent_daemon(tmp_path: Path) -> None:
    """Somebody listens and takes no connection: that is waited for, and then said as what it is."""
    path = tmp_path / "control.sock"
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(0)
        with pytest.raises(BlockingIOError):  # noqa: PT012 - it is the last one that fails
            while True:
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))
        with pytest.raises(TimeoutError, match="all are in use"):
            ask(path, {"command": "status"}, timeout=0.3)
    with pytest.raises(NotRunning):
        ask(path, {"command": "status"}, timeout=0.3)


def test_a_folder_at_the_sockets_name_is_set_aside(tmp_path: Path) -> None:
    """So is nothing lost of it; a file, a link or a socket of a dead process goes."""
    path = tmp_path / "control.sock"
    for plant in ("mkdir", "touch", "ln -s /etc/passwd", "mkfifo"):
        subprocess.run([*plant.split(), path], check=True)
        server = ControlServer(path, {"status": lambda _request, _peer: 1})
        assert ask(path, {"command": "status"}) == 1
        server.close()
        assert not path.exists()
    assert [found.is_dir() for found in tmp_path.iterdir()] == [True]


def test_a_socket_that_cannot_be_had_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process goes on without it, says so once a try, and has it when it can be had."""
    monkeypatch.setattr(control, "RETRY_SECONDS", 0.1)
    path = tmp_path / "folder" / "control.sock"
    with capture_logs() as logs:
        server = ControlServer(path, {"status": lambda _request, _peer: 1})
        assert [line["action"] for line in logs] == ["control_unavailable"]
        path.parent.mkdir()
        wait_for(path.exists)
        wait_for(lambda: ask(path, {"command": "status"}) == 1)
    server.close()


@pytest.mark.usefixtures("_many_files")
def test_a_crowd_at_the_socket_costs_no_sample(machine: Machine, tmp_path: Path) -> None:
    """Silent ones, endless ones and quick ones, while it records: no gap, and it answers in between."""
    write_wav(tmp_path / "speech.wav", 16_000, 1, speech(16_000, 1, 320_000))
    machine.configure(audio={"input": f"file:{tmp_path / 'speech.wav'}?loop"}, heartbeat={"enabled": False})
    with machine.daemon() as daemon:
        wait_for(lambda: daemon.status()["state"] == "recording")
        path = StateDirectory(daemon.state, daemon.state).socket
        with contextlib.ExitStack() as stack:
            for number in range(600):
                client = stack.enter_context(connected(path))
                if number % 4 == 0:
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        client.sendall(b"x" * (1 << 17))
            assert daemon.status()["state"] == "recording"
        assert daemon.stop() == 0
    gaps = machine.ok("gaps", "--json").json
    assert [gap for gap in gaps if gap["cause"] != "not_running"] == []  # before it began
