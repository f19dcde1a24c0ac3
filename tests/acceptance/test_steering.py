"""What the running daemon is told: start, stop, mark, reload, and by whom."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import grp
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from acceptance import Machine, machine, server, wait_for
from speech import speech, write_wav

from agent.control.server import ControlServer, Peer, ask
from agent.errors import AgentError
from agent.process.state_directory import StateDirectory

NOBODY, STRANGERS = 65534, 65533
GROUP = grp.getgrgid(1).gr_name


@pytest.fixture
def speaking(machine: Machine, tmp_path: Path) -> Machine:
    """Return a machine that hears speech, and records when it is told to."""
    write_wav(tmp_path / "speech.wav", 16_000, 1, speech(16_000, 1, 320_000))
    machine.configure(
        audio={"input": f"file:{tmp_path / 'speech.wav'}?loop"},
        heartbeat={"enabled": False},
        recording={"mode": "manual"},
    )
    return machine


def test_start_leaves_and_stop_ends(speaking: Machine) -> None:
    """The recording goes on when the command that started it is gone; its row has the id that was said."""
    with speaking.daemon() as daemon:
        assert speaking.ok("stop", "--json").json == {"stopped": False}
        assert speaking.run("mark").sentence(1).startswith("nothing is being recorded")
        started = speaking.ok("start", "--name", "by hand", "--json").json
        assert started["started"] is True
        wait_for(lambda: daemon.status()["recording"]["duration_ms"] > 600)
        assert speaking.ok("mark").out.startswith(f"marked {started['id']} at ")
        assert speaking.ok("stop").out == "stopped\n"
        wait_for(lambda: daemon.status()["state"] == "idle")
        (row,) = speaking.queue()
        assert row["id"] == started["id"]
        assert row["duration_ms"] > 500
        assert row["metadata"]["recorder_marks"].count("offset_ms") == 1


def test_reload_says_what_needs_a_restart_and_what_is_wrong(speaking: Machine) -> None:
    """The log's level changes at once; a wrong file is answered with its sentence, and nothing changes."""
    with speaking.daemon() as daemon:
        speaking.configure(log={"level": "debug"}, opus={"bitrate_kbps": 24})
        assert speaking.ok("reload", "--json").json == {"needs_restart": ["opus.bitrate_kbps"]}
        speaking.configure(opus={"bitrate_kbps": 999})
        good = speaking.config_file.read_text().replace("999", "24")
        answer = speaking.run("reload")
        assert answer.code == 78
        assert "bitrate_kbps" in answer.err
        speaking.config_file.write_text(good)
        assert daemon.stop() == 0


@pytest.mark.parametrize("command", [["start"], ["mark"], ["stop"], ["reload"]])
def test_without_a_daemon_there_is_nobody_to_tell(speaking: Machine, command: list[str]) -> None:
    """One sentence, and how to start it."""
    assert speaking.run(*command).sentence(1).startswith("recorder-agent is not running")


def as_somebody(groups: list[int], *command: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a command as a user that owns nothing, in some groups."""
    return subprocess.run(
        command,
        user=NOBODY,
        group=STRANGERS,
        extra_groups=groups,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": "/"},
        cwd="/",
    )


def let_pass(folder: Path) -> None:
    """Let everybody through the folders that pytest makes for its user alone; the system's own are left as they are."""
    for each in (folder, *folder.parents):
        if not each.stat().st_mode & 0o001:
            each.chmod(0o711)


@pytest.mark.root
@pytest.mark.parametrize("member", [True, False])
def test_members_of_the_group_may_ask_and_strangers_may_not(tmp_path: Path, *, member: bool) -> None:
    """Access is by group: the socket is 0660 and belongs to control.group."""
    let_pass(tmp_path)
    path = tmp_path / "control.sock"
    control = ControlServer(path, {"status": lambda _request, _peer: {"state": "idle"}}, group=GROUP)
    try:
        assert (path.stat().st_mode & 0o777, path.group()) == (0o660, GROUP)
        client = (
            "import socket, sys; peer = socket.socket(socket.AF_UNIX); peer.connect(sys.argv[1]);"
            """peer.sendall(b'{"command": "status"}\\n'); print(peer.recv(100).decode())"""
        )
        ended = as_somebody([1] if member else [], "/usr/bin/python3", "-c", client, path)
        assert ("idle" if member else "PermissionError") in ended.stdout + ended.stderr
        assert ask(path, {"command": "status"}) == {"state": "idle"}
    finally:
        control.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": "5"},
        {"seconds": 0},
        {"seconds": 1e305},
        {"name": 7},
        {"metadata": [1]},
        {"metadata": {"a": "x" * 5000}},
        {"metadata": {"client_recording_id": "mine"}},
        {"metadata": {"recorder_site": 4}},
    ],
)
@pytest.mark.parametrize("command", ["record", "start"])
def test_a_request_that_is_wrong_is_refused_at_the_desk(
    speaking: Machine, command: str, wrong: dict[str, object]
) -> None:
    """The recorder never sees it, and goes on."""
    with speaking.daemon() as daemon:
        with pytest.raises(AgentError) as refused:
            ask(StateDirectory(speaking.state, speaking.state).socket, {"command": command, **wrong})
        assert refused.value.exit_code == 2
        assert daemon.status()["state"] == "idle"
        assert daemon.stop() == 0


@pytest.mark.root
def test_what_is_the_owners_own_is_not_for_the_group(tmp_path: Path) -> None:
    """A member may ask for the status, and not delete; root may both."""
    path = tmp_path / "control.sock"
    control = ControlServer(path, {"delete": lambda _request, _peer: "done"}, admin_commands={"delete"})
    path.chmod(0o666)
    let_pass(tmp_path)
    client = (
        "import socket, sys; peer = socket.socket(socket.AF_UNIX); peer.connect(sys.argv[1]);"
        """peer.sendall(b'{"command": "delete"}\\n'); print(peer.recv(200).decode())"""
    )
    try:
        assert "use sudo" in as_somebody([], "/usr/bin/python3", "-c", client, path).stdout
        assert ask(path, {"command": "delete"}) == "done"
    finally:
        control.close()


def test_an_asking_side_that_never_reads_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What tells it is not held up for ever: a delivery may be waiting behind it."""
    monkeypatch.setattr("agent.control.server.SEND_SECONDS", 1)
    left = threading.Event()

    def tell_much(_request: object, peer: Peer) -> None:
        try:
            while True:
                peer.tell(event="transfer", text="x" * 10_000)
        except OSError:
            left.set()
            raise

    control = ControlServer(tmp_path / "control.sock", {"sync": tell_much})
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "control.sock"))
        client.sendall(b'{"command": "sync"}\n')
        assert left.wait(10)
    control.close()


@pytest.mark.parametrize("group", ["", "no-such-group-here"])
def test_without_a_group_only_the_owner_may_ask(tmp_path: Path, group: str) -> None:
    """A group that is missing does not stop the daemon, and opens nothing."""
    control = ControlServer(tmp_path / "control.sock", {}, group=group)
    assert (tmp_path / "control.sock").stat().st_mode & 0o777 == 0o600
    control.close()
