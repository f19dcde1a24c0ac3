"""Where the state is, who may work on it, and that one daemon does."""

import errno
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent.config.loader import LoadedConfig
from agent.config.schema import Config, StorageConfig
from agent.errors import AgentError
from agent.process import state_directory
from agent.process.state_directory import Process, StateDirectory
from agent.process.state_lock import StateLock, holder_of, no_right

SYSTEM_FILE = Path("/etc/recorder-agent/config.toml")
NOBODY = 65534


def loaded(directory: str = "", file: Path | None = None) -> LoadedConfig:
    return LoadedConfig(Config(storage=StorageConfig(directory=directory)), file)


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    """A state directory that exists."""
    made = StateDirectory(tmp_path / "state", tmp_path / "state")
    made.create()
    return made


@pytest.mark.parametrize(
    ("settings", "environ", "path"),
    [
        (loaded("/a/b", SYSTEM_FILE), {"STATE_DIRECTORY": "/s"}, "/a/b"),
        (loaded("", SYSTEM_FILE), {"STATE_DIRECTORY": "/s:/t"}, "/s"),
        (loaded("", SYSTEM_FILE), {"XDG_STATE_HOME": "/x"}, "/var/lib/recorder-agent"),
        (loaded("", Path("/home/pi/c.toml")), {"XDG_STATE_HOME": "/x"}, "/x/recorder-agent"),
        (
            loaded(),
            {"XDG_STATE_HOME": "relative", "HOME": "/home/pi"},
            "/home/pi/.local/state/recorder-agent",
        ),
        (loaded(), {"HOME": "/home/pi"}, "/home/pi/.local/state/recorder-agent"),
    ],
)
def test_the_place_is_chosen_in_order(settings: LoadedConfig, environ: dict[str, str], path: str) -> None:
    """storage.directory, $STATE_DIRECTORY, the system's for the system's settings, XDG."""
    assert state_directory.resolve(settings, environ).path == Path(path)


def test_the_runtime_folder_is_found_by_daemon_and_shell_alike(tmp_path: Path) -> None:
    """By systemd's variable, else /run/recorder-agent for the system's state if it exists, else in memory."""
    run, system = tmp_path / "run", tmp_path / "lib"

    def runtime(settings: LoadedConfig, environ: dict[str, str]) -> Path:
        found = state_directory.resolve(settings, environ, system_state=system, system_runtime=run)
        assert found.socket == found.runtime / "control.sock"
        return found.runtime

    assert runtime(loaded("", SYSTEM_FILE), {"RUNTIME_DIRECTORY": "/r:/q"}) == Path("/r")
    by_hand = runtime(loaded("", SYSTEM_FILE), {})
    assert by_hand.parent == state_directory.MEMORY
    run.mkdir()
    assert runtime(loaded("", SYSTEM_FILE), {}) == run
    assert runtime(loaded("/mnt/usb", SYSTEM_FILE), {}) == run
    assert runtime(loaded(), {"STATE_DIRECTORY": str(system)}) == run
    assert runtime(loaded("/mnt/usb"), {}) != by_hand
    mine, others = tmp_path / "mine", tmp_path / "others"
    mine.mkdir(mode=0o700)
    others.mkdir()
    others.chmod(0o777)
    assert runtime(loaded("/mnt/usb"), {"XDG_RUNTIME_DIR": str(mine)}).parent == mine
    assert runtime(loaded("/mnt/usb"), {"XDG_RUNTIME_DIR": str(others)}).parent == state_directory.MEMORY


def test_a_stop_without_a_folder_in_memory_leaves_the_recordings(tmp_path: Path) -> None:
    """Where neither XDG nor /dev/shm serves, the state directory itself is the runtime folder: nothing in it goes."""
    path = tmp_path / "recorder-agent-state"
    made = StateDirectory(path, state_directory.runtime_by_hand(path, {}, tmp_path / "no-memory"))
    made.create()
    recording = made.outbox / "a.opus"
    recording.write_bytes(b"sound")
    made = made.create_runtime()
    with made.lock():
        (made.runtime / "status.json").touch()
    made.remove_runtime()
    assert recording.read_bytes() == b"sound"
    assert {entry.name for entry in path.iterdir()} >= {
        "recording",
        "outbox",
        "sent",
        "damaged",
        "status.json",
    }


def test_a_stop_removes_what_is_put_into_the_runtime_folder_and_nothing_else(tmp_path: Path) -> None:
    """The folder goes with our own files; one in which somebody keeps theirs stays, and theirs with it."""
    made = StateDirectory(tmp_path / "state", tmp_path / "recorder-agent-1")
    made.create()
    for others in ("", "mine.txt", "status.json/mine.txt"):
        made.create_runtime()
        for name in state_directory.RUNTIME_FILES:
            (made.runtime / name).touch()
        (made.runtime / ".delivery.json.new").touch()
        if others:
            (made.runtime / "status.json").unlink()
            (made.runtime / others).parent.mkdir(exist_ok=True)
            (made.runtime / others).write_text("mine")
        with made.lock():
            made.remove_runtime()
            assert (made.runtime / "control.sock").exists()
        made.remove_runtime()
        assert made.runtime.exists() == bool(others)
        assert not others or (made.runtime / others).read_text() == "mine"


def test_the_folders_are_for_the_owner_only(tmp_path: Path) -> None:
    """0700 all of them, parents made; folders of ours that are looser are tightened; twice is no error."""
    made = StateDirectory(tmp_path / "a" / "b", tmp_path)
    made.create()
    made.sent.chmod(0o755)
    made.create()
    for folder in (made.path, made.recording, made.outbox, made.sent, made.damaged):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {entry.name for entry in made.path.iterdir()} == {"recording", "outbox", "sent", "damaged"}


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    """The kernel's word, and exit 1."""
    (tmp_path / "state").write_text("")
    with pytest.raises(AgentError) as caught:
        StateDirectory(tmp_path / "state", tmp_path).create()
    assert caught.value.message == f"the state directory {tmp_path / 'state'} cannot be used (File exists)"
    assert caught.value.hint
    assert caught.value.exit_code == 1


def test_a_second_daemon_is_refused(state: StateDirectory) -> None:
    """One sentence and exit 1, until the first lets go."""
    waits: list[float] = []
    with state.lock():
        assert state.is_locked()
        with pytest.raises(AgentError) as caught:
            StateLock(state.lock_of(Process.RECORDER), waits.append).acquire()
        assert caught.value.message == f"another recorder-agent already works on {state.path}"
        assert caught.value.hint.endswith("first, or name another storage.directory")
    assert 0 < sum(waits) < 1
    assert not state.is_locked()
    with state.lock():
        assert state.is_locked()


def test_somebody_who_only_looks_does_not_keep_the_daemon_out(state: StateDirectory) -> None:
    """``is_locked`` takes a shared lock for a moment; ``acquire`` waits that moment out."""
    state.lock_of(Process.RECORDER).touch()
    with state.lock_of(Process.RECORDER).open() as looking:
        import fcntl

        fcntl.flock(looking, fcntl.LOCK_SH)
        lock = StateLock(
            state.lock_of(Process.RECORDER), lambda _seconds: fcntl.flock(looking, fcntl.LOCK_UN)
        )
        lock.acquire()
    assert state.is_locked()
    lock.release()
    lock.release()
    assert not state.is_locked()


def test_the_lock_ends_with_its_process(state: StateDirectory) -> None:
    """Killed hard, and the next one can start."""
    program = (
        "import sys, time; from pathlib import Path; from agent.process.state_lock import StateLock\n"
        "StateLock(Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(state.lock_of(Process.RECORDER))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert state.is_locked()
        process.send_signal(signal.SIGKILL)
    assert not state.is_locked()


def test_nothing_there_is_not_locked(tmp_path: Path) -> None:
    """Before the first start."""
    assert not StateDirectory(tmp_path / "none", tmp_path).is_locked()


def as_somebody(uid: int, path: Path, program: str) -> str:
    """Run a program with ``state`` in a process that starts as ``uid``; return what it prints."""
    text = (
        "import os, sys; from pathlib import Path\n"
        "from agent.process import state_directory; from agent.errors import AgentError\n"
        "state = state_directory.StateDirectory(Path(sys.argv[1]), Path(sys.argv[1]))\n"
        f"os.setresgid({uid}, {uid}, {uid}) if {uid} else None\n"
        f"os.setresuid({uid}, {uid}, {uid}) if {uid} else None\n" + program
    )
    run = subprocess.run([sys.executable, "-c", text, str(path)], check=True, capture_output=True, text=True)
    return run.stdout


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A state directory that belongs to nobody, in folders that everybody may pass."""
    for parent in tmp_path.parents:
        if not parent.stat().st_mode & 0o001:  # the folders pytest makes for its user
            parent.chmod(0o711)
    tmp_path.chmod(0o711)
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)
    return folder


@pytest.mark.root
def test_root_becomes_the_owner_for_good(foreign: Path) -> None:
    """User, groups and HOME change, files belong to the owner, and there is no way back."""
    told = as_somebody(
        0,
        foreign,
        """
state_directory.become_owner(state, os.environ)
state.create()
print(os.getresuid(), os.getresgid(), 0 in os.getgroups(), os.environ['HOME'] != '/root')
print(state.outbox.stat().st_uid)
try:
    os.setuid(0)
except PermissionError:
    print('no way back')
""",
    )
    assert told.splitlines() == [
        f"({NOBODY}, {NOBODY}, {NOBODY}) ({NOBODY}, {NOBODY}, {NOBODY}) False True",
        f"{NOBODY}",
        "no way back",
    ]


@pytest.mark.root
def test_an_owner_without_a_name_serves_too(foreign: Path) -> None:
    """A container's number: its group, and no home."""
    os.chown(foreign, 54321, 54322)
    told = as_somebody(
        0,
        foreign,
        """
state_directory.become_owner(state, os.environ)
print(os.getuid(), os.getgid(), os.getgroups(), os.environ['HOME'])
""",
    )
    assert told == "54321 54322 [54322] /\n"


@pytest.mark.root
def test_somebody_else_is_told_so(foreign: Path) -> None:
    """No right to it is one sentence, whatever is tried first."""
    told = as_somebody(
        12345,
        foreign,
        """
for attempt in (state_directory.become_owner, state.create, state.is_locked, state.lock().acquire):
    try:
        attempt(state, os.environ) if attempt is state_directory.become_owner else attempt()
    except AgentError as error:
        print(error)
""",
    )
    assert (
        told.splitlines()
        == [f"no right to use the state directory {foreign}; run this as its owner, or with sudo"] * 4
    )


@pytest.mark.parametrize("has_name", [True, False])
def test_a_service_is_told_what_gives_its_account_the_right(
    monkeypatch: pytest.MonkeyPatch, has_name: bool
) -> None:
    """Also one whose account has no name, as in a container: the command takes its numbers."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/nobody")
    account = f"{os.geteuid()}:{os.getegid()}"
    if has_name:
        account = f"{pwd.getpwuid(0).pw_name}:"
        monkeypatch.setattr(os, "geteuid", lambda: 0)
    else:
        monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    error = no_right(Path("/media/a card"), PermissionError(errno.EACCES, "no"))
    assert error.hint == f"`sudo chown -R {account} '/media/a card'`"
    assert account.split(":")[0] in error.message


def test_the_owner_stays_who_he_is(state: StateDirectory, tmp_path: Path) -> None:
    """On one's own directory, or on none yet, nothing changes."""
    environ: dict[str, str] = {}
    before = os.getresuid()
    state_directory.become_owner(state, environ)
    state_directory.become_owner(StateDirectory(tmp_path / "none", tmp_path), environ)
    assert (os.getresuid(), environ) == (before, {})


def test_a_socket_may_lie_deep(tmp_path: Path) -> None:
    """Paths longer than the 107 bytes of sun_path bind and connect."""
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    path = folder / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        state_directory.bind(listener, path)
        listener.listen()
        state_directory.connect(client, path)
        accepted, _ = listener.accept()
        with accepted:
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"
    assert stat.S_ISSOCK(path.stat().st_mode)


def test_a_lock_names_its_holder_whatever_its_arguments(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words that are no UTF-8 are replaced: the text of the holder before does not stay."""
    path = state.lock_of(Process.RECORDER)
    with state.lock():
        before = holder_of(path)
    monkeypatch.setattr(sys, "argv", ["recorder-agent", "record", "--name", "Gr\udcdf"])
    with state.command_lock(Process.RECORDER):
        holder = holder_of(path)
    assert before is not None
    assert holder is not None
    assert (holder.what, holder.runtime) == ("recorder-agent record Gr�", "")
    assert before.runtime == str(state.runtime)


@pytest.mark.parametrize(
    "content",
    [
        b'{"x":' + b"[" * 4000,
        b'{"pid": 1, "what": "\xff"}',
        b'{"pid": 10000000000000000000000}',
        b"",
        b"x" * 9000,
    ],
)
def test_a_lock_file_that_says_nonsense_names_nobody(state: StateDirectory, content: bytes) -> None:
    """Nested too deeply, no UTF-8, numbers that no process has, nothing, too much: no holder, and no exception."""
    state.lock_of(Process.RECORDER).write_bytes(content)
    assert holder_of(state.lock_of(Process.RECORDER)) is None
