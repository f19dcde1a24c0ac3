"""Another user of the machine: what is planted where root works, and what may be learnt of the token."""

import contextlib
import os
import pwd
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance import PROGRAM, Machine, server, wait_for
from owners import recorded
from speech import speech, write_wav
from used_card import place

from agent.process.state_directory import Process, StateDirectory, runtime_by_hand
from agent.process.state_lock import holder_of
from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.server import SandboxServer

__all__ = ["place", "server"]

NOBODY = pwd.getpwnam("nobody")
MODULES = (
    *("sitecustomize", "usercustomize", "pyaudio", "opuslib", "httpx", "msgspec", "click", "json", "logging"),
    *("sqlite3", "tabulate", "numpy", "agent", "encodings", "site"),
)
"""What somebody could put into a folder in which root may stand."""
COMMANDS = (
    *(["--version"], ["devices"], ["status"], ["doctor"], ["queue", "list"], ["gaps"], ["level", "--help"]),
    *(
        ["config", "show"],
        ["token", "status"],
        ["sync"],
        ["repair"],
        ["mark", "x"],
        ["record", "--seconds", "1"],
    ),
)


def as_nobody(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a command as another user."""
    identity = ["setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups"]
    return subprocess.run([*identity, *command], capture_output=True, text=True, check=False, cwd="/")


@pytest.fixture
def machine(place: Path, server: SandboxServer, request: pytest.FixtureRequest) -> Machine:
    """A machine of root's, in a folder that everybody may pass."""
    folder = place / request.node.name.replace("[", "-").rstrip("]")
    return Machine(folder, server)


@pytest.mark.root
def test_no_code_of_the_callers_folder_is_run(machine: Machine, place: Path) -> None:
    """Modules of every likely name lie where root stands and in its caller's home: not one of them is run."""
    trap, mark = place / "trap", place / "ran"
    for name in MODULES:
        package = trap / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"open({str(mark)!r}, 'a').write({name!r})\n")
    (trap / ".asoundrc").write_text("</no/such/file>\n")
    python = [
        sys.executable,
        "-c",
        "import runpy, sys; runpy.run_path(sys.argv.pop(1))",
        str(trap / "json/__init__.py"),
    ]
    subprocess.run(python, check=True)
    assert mark.read_text() == "json"  # the trap works
    mark.unlink()
    machine.configure(audio={"input": "no-such-microphone"})
    for arguments in COMMANDS:
        subprocess.run(
            [PROGRAM, "--config", machine.config_file, *arguments],
            cwd=trap,
            env=machine.environment | {"PWD": str(trap), "OLDPWD": str(trap)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert not mark.exists(), (arguments, mark.read_text())
    with subprocess.Popen(
        [PROGRAM, "--config", machine.config_file, "run"],
        cwd=trap,
        env=machine.environment,
        stderr=subprocess.DEVNULL,
    ) as process:
        state = StateDirectory(machine.state, machine.state)
        wait_for(lambda: state.is_locked(Process.DELIVERER))
        wait_for((state.runtime_of(Process.DELIVERER) / "delivery.json").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    assert not mark.exists(), mark.read_text()


@pytest.mark.root
@pytest.mark.parametrize("planted", ["link", "folder", "file"])
def test_nothing_is_planted_where_root_keeps_its_runtime_folder(
    machine: Machine, place: Path, planted: str
) -> None:
    """At the name under /dev/shm stands another user's: it is left alone, and another name is taken."""
    del machine.environment["XDG_RUNTIME_DIR"]
    name = runtime_by_hand(machine.state, {})
    victim = place / f"victim-{planted}"
    victim.mkdir()
    os.chown(victim, NOBODY.pw_uid, NOBODY.pw_gid)
    command = {"link": f"ln -s {victim}", "folder": "mkdir", "file": "touch"}[planted]
    assert as_nobody(*command.split(), name).returncode == 0
    try:
        loop = write_wav(machine.folder / "loop.wav", 16_000, 1, speech(16_000, 1, 160_000))
        machine.configure(audio={"input": f"file:{loop}?loop"})
        with machine.daemon() as daemon:
            wait_for(lambda: daemon.status()["state"] == "recording")
            runtime = StateDirectory(machine.state, machine.state).runtime_of(Process.RECORDER)
            assert runtime not in (name, victim)
            assert (runtime.stat().st_uid, stat.S_IMODE(runtime.stat().st_mode)) == (0, 0o700)
            assert daemon.stop() == 0
        assert list(victim.iterdir()) == []
        assert name.lstat().st_uid == NOBODY.pw_uid
        assert planted != "folder" or list(name.iterdir()) == []
    finally:
        with contextlib.suppress(FileNotFoundError):
            name.rmdir() if planted == "folder" else name.unlink()


@pytest.mark.root
def test_another_users_runtime_folder_is_not_used(machine: Machine, place: Path) -> None:
    """``$XDG_RUNTIME_DIR`` of whoever called sudo gets nothing of root's."""
    theirs = place / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, NOBODY.pw_uid, NOBODY.pw_gid)
    machine.environment["XDG_RUNTIME_DIR"] = str(theirs)
    recorded(machine)
    assert machine.run("status").code == 0
    assert list(theirs.iterdir()) == []


@pytest.mark.root
def test_a_lock_cannot_be_planted(machine: Machine, place: Path) -> None:
    """A link at the lock's name is not followed: what it points to is not made, and not written."""
    victim = place / "would-be-lock"
    machine.state.mkdir(mode=0o700)
    (machine.state / "daemon.lock").symlink_to(victim)
    machine.run("record", "--seconds", "1")
    assert not victim.exists()


@pytest.mark.root
def test_an_export_is_the_callers_and_for_nobody_else(machine: Machine, place: Path) -> None:
    """Under sudo: into a home that only the caller may enter, as the caller, 0600, through no link of anybody's."""
    row = recorded(machine)
    home, victim = place / "home", place / "precious"
    home.mkdir(mode=0o700)
    victim.write_text("precious")
    os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
    machine.environment |= {"SUDO_UID": str(NOBODY.pw_uid), "SUDO_GID": str(NOBODY.pw_gid)}
    assert machine.run("queue", "export", home / "out").code == 0
    files = sorted((home / "out").iterdir())
    assert len(files) == 2
    for each, mode in ((home / "out", 0o700), *((file, 0o600) for file in files)):
        status = each.lstat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (NOBODY.pw_uid, mode)
    planted = home / "planted"
    assert as_nobody("mkdir", planted).returncode == 0
    for file in files:
        assert as_nobody("ln", "-s", victim, planted / file.name).returncode == 0
    run = machine.run("queue", "export", planted, row["id"])
    assert run.code == 1
    assert victim.read_text() == "precious"
    refused = machine.run("queue", "export", place / "not-theirs")
    assert refused.code == 1
    assert "not-theirs" in refused.sentence(1)


@pytest.fixture
def _cores() -> Iterator[None]:
    """Let processes leave cores as large as they may here: who held a token before has forbidden them for good."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    print("cores of at most", before[1], "bytes; -1: as large as they like")
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.mark.root
@pytest.mark.usefixtures("_cores")
def test_the_token_is_nowhere_but_in_its_file(machine: Machine) -> None:
    """Not in an argument, an environment, a log, an answer, another file or a core, of either process."""
    loop = write_wav(machine.folder / "loop.wav", 16_000, 1, speech(16_000, 1, 160_000))
    machine.configure(
        audio={"input": f"file:{loop}?loop"},
        recording={"segment_seconds": 2},
        log={"level": "debug", "format": "json"},
    )
    secrets = {DEFAULT_TOKEN.encode()}
    said: list[str] = []
    with machine.daemon() as daemon:
        state = StateDirectory(machine.state, machine.state)
        wait_for(lambda: len(list((machine.state / "sent").glob("*.opus"))) >= 1)
        machine.ok("token", "refresh")
        secrets.add((machine.state / "token" / "device-token").read_bytes().strip())
        wait_for(lambda: len(list((machine.state / "sent").glob("*.opus"))) >= 2)
        for arguments in (
            ["status", "--json"],
            ["doctor"],
            ["config", "show"],
            ["token", "status"],
            ["queue", "list"],
        ):
            run = machine.run(*arguments)
            said += [run.out, run.err]
        holder = holder_of(state.lock_of(Process.DELIVERER))
        assert holder is not None
        for pid in (daemon.process.pid, holder.pid):
            said += [
                Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
                for name in ("cmdline", "environ")
            ]
        assert as_nobody("cat", f"/proc/{holder.pid}/environ").returncode != 0
        for file in (
            *state.runtime_of(Process.RECORDER).iterdir(),
            *state.runtime_of(Process.DELIVERER).iterdir(),
        ):
            if file.is_file():
                said.append(file.read_text(errors="replace"))
        os.kill(holder.pid, signal.SIGABRT)
        wait_for(lambda: not Path(f"/proc/{holder.pid}").exists() or "Z" in _state_of(holder.pid))
        wait_for(lambda: (holder_of(state.lock_of(Process.DELIVERER)) or holder).pid != holder.pid)
        daemon.stop()
        said.append(daemon.log())
    assert len(secrets) == 2
    for secret in secrets:
        assert [text[:100] for text in said if secret.decode() in text] == []
        held = [
            path
            for path in machine.folder.rglob("*")
            if path.is_file() and not path.is_symlink() and secret in path.read_bytes()
        ]
        assert held
        assert set(held) <= {machine.token_file, machine.state / "token" / "device-token"}
    assert [path for path in machine.folder.rglob("core*") if path.is_file()] == []


def _state_of(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    return "Z"
