"""What goes wrong on the machine itself: one sentence, the right exit code, and nothing that was recorded is lost."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import contextlib
import os
import subprocess
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance import Machine, machine, server, stored, wait_for
from speech import speech, write_wav

from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.server import SandboxServer

RATE = 16_000
NO_MICROPHONE = "no-such-microphone"


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """Two seconds of speech."""
    return write_wav(tmp_path / "a.wav", RATE, 1, speech(RATE, 1, 2 * RATE))


def hide(machine: Machine, name: str, source: str) -> None:
    """Put a module in front of the real one, for every process of this machine."""
    (machine.folder / "hidden" / f"{name}.py").write_text(source)


def test_without_libopus(machine: Machine, wav: Path) -> None:
    """Where the linker knows no libopus, ``record`` names the package to install, and ``status`` still works."""
    hide(
        machine,
        "sitecustomize",
        "import ctypes.util\n"
        "found = ctypes.util.find_library\n"
        "ctypes.util.find_library = lambda name: None if name == 'opus' else found(name)\n",
    )
    assert "apt-get install libopus0" in machine.run("record", "--input", wav).sentence(1)
    assert machine.queue() == []
    machine.ok("status")


def test_without_microphone_and_without_portaudio(machine: Machine, server: SandboxServer) -> None:
    """``record`` gives up within 15 s with exit 69, and tells a missing microphone from a missing library."""
    machine.configure(audio={"input": NO_MICROPHONE})
    other = Machine(machine.folder / "other", server)
    other.configure(audio={"input": NO_MICROPHONE})
    hide(
        other,
        "pyaudio",
        "raise ImportError('libportaudio.so.2: cannot open shared object file: No such file or directory')\n",
    )
    command = ("record", "--seconds", "1")
    with other.popen(*command, stderr=subprocess.PIPE) as process:  # both wait for a device: at the same time
        assert NO_MICROPHONE in machine.run(*command).sentence(69)
        _, err = process.communicate(timeout=15)
    assert process.returncode == 69
    assert "apt-get install libportaudio2" in err
    assert len(err.splitlines()) == 1
    assert "apt-get install libportaudio2" in other.run("devices").sentence(69)


def bad_wavs(folder: Path, wav: Path) -> Iterator[tuple[Path, str]]:
    """Yield files that cannot be recorded, each with a word of the reason."""
    content = wav.read_bytes()
    for name, piece, why in (
        ("text", b"hello, this is no sound", "is no WAV file"),
        ("empty", b"", "is no WAV file"),
        ("torn-in-its-header", content[:30], "damaged"),
        ("torn-before-its-samples", content[:44], "no samples"),
    ):
        path = folder / f"{name}.wav"
        path.write_bytes(piece)
        yield path, why
    many = folder / "surround.wav"
    with wave.open(str(many), "wb") as file:
        file.setnchannels(6)
        file.setsampwidth(3)
        file.setframerate(RATE)
        file.writeframes(bytes(18 * RATE))
    yield many, "24-bit PCM at 16000 Hz with 6 channel(s)"
    yield write_wav(folder / "cd.wav", 44_100, 1, bytes(88_200)), "44100 Hz"
    yield folder / "missing.wav", "name an existing WAV file"
    yield folder, "name an existing WAV file"


def test_a_wav_that_cannot_be_recorded(machine: Machine, tmp_path: Path, wav: Path) -> None:
    """Each kind is refused with its own reason and leaves nothing; one cut short is recorded as far as it goes."""
    for path, why in bad_wavs(tmp_path, wav):
        sentence = machine.run("record", "--input", path).sentence(1)
        assert why in sentence
        assert str(path) in sentence
    assert machine.queue() == []

    short = tmp_path / "short.wav"
    short.write_bytes(wav.read_bytes()[: 44 + RATE * 2 + 1])
    (row,) = machine.record(short)
    assert row["duration_ms"] == 1000


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[audio\n", "is not TOML at line 1"),
        ('[audio]\nimput = "x"\n', "audio.imput is not a setting; the nearest one is audio.input"),
        ("[opus]\nframe_ms = 30\n", "opus.frame_ms is 30, but must be 10, 20, 40 or 60"),
        ('[storage]\nmin_free_mb = "1"\n', "storage.min_free_mb"),
        ('[api]\nbase_url = "http://192.0.2.1/v1"\n', "api.base_url"),
        (None, "cannot be read"),
    ],
)
def test_a_configuration_that_cannot_be_used(machine: Machine, content: str | None, says: str) -> None:
    """Syntax, an unknown key, a wrong range or type, plain http, a missing file: exit 78, file and key named."""
    machine.config_file.unlink() if content is None else machine.config_file.write_text(content)
    for command in ("run", "sync") if content and "audio" in content else ("sync",):
        sentence = machine.run(command).sentence(78)
        assert sentence.startswith(f"{machine.config_file}: ")
        assert says in sentence


def test_a_token_that_is_missing_wrong_or_open(machine: Machine, server: SandboxServer, wav: Path) -> None:
    """``sync`` exits 77, tells what to do and never the token; the recording waits, and goes with the right one."""
    (row,) = machine.record(wav)
    machine.token_file.unlink()
    assert "token set" in machine.run("sync").sentence(77)
    machine.give_token("dtok_of-somebody-else")
    wrong = machine.run("sync").sentence(77)
    assert "401" in wrong
    assert "dtok_" not in wrong
    machine.give_token(DEFAULT_TOKEN)
    machine.token_file.chmod(0o644)
    assert "chmod 600" in machine.run("sync").sentence(77)
    (waiting,) = machine.queue()
    assert (waiting["status"], waiting["attempts"]) == ("held", 0)  # the wrong one may be another owner's

    machine.token_file.chmod(0o600)
    machine.ok("sync")
    assert stored(server, row["id"])


def test_a_server_that_is_not_there(machine: Machine, server: SandboxServer, wav: Path) -> None:
    """``sync`` exits 75 at the first recording that meets it, nobody's attempts are used up, and later all go."""
    machine.configure(recording={"max_seconds": 1})
    rows = machine.record(wav)
    server.stop()
    assert "refused" in machine.run("sync").sentence(75)
    assert [(row["status"], row["attempts"]) for row in machine.queue()] == [("ready", 0)] * 2

    server.start()
    machine.ok("sync")
    assert all(stored(server, row["id"]) for row in rows)


def test_a_command_that_does_not_exist(machine: Machine) -> None:
    """An unknown command or option is wrong usage, exit 2, and the right words are shown."""
    for arguments in (("frobnicate",), ("record", "--lenght", "3"), ("queue", "retry")):
        run = machine.run(*arguments)
        assert run.code == 2
        assert "Usage: " in run.err
        assert "Error: " in run.err


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Put a file system of its own under a folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}M", "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.root
def test_a_disk_that_is_full(machine: Machine, server: SandboxServer, tmp_path: Path, wav: Path) -> None:
    """No room by ``min_free_mb``, or none at all: exit 1, and all that was captured until then is delivered later."""
    noise = write_wav(tmp_path / "long.wav", 48_000, 1, speech(48_000, 1, 48_000 * 120))
    with small_disk(machine.state, 3):
        (before,) = machine.record(wav)
        machine.configure(storage={"min_free_mb": 50}, opus={"bitrate_kbps": 256, "complexity": 0})
        assert "storage.min_free_mb asks for 50" in machine.run("record", "--input", wav).sentence(1)
        machine.configure(storage={"min_free_mb": 0})
        assert "No space left on device" in machine.run("record", "--input", noise).sentence(1)
        (part,) = (machine.state / "recording").iterdir()
        captured = part.stat().st_size

        subprocess.run(["mount", "-o", "remount,size=9M", machine.state], check=True)
        assert len(machine.ok("sync", "--json").json["delivered"]) == 2

        assert stored(server, before["id"])
        (_, rescued) = machine.queue()
        assert rescued["recovered"]
        assert stored(server, rescued["id"])[0].stat().st_size > captured - 100_000


@pytest.mark.root
def test_a_daemon_on_a_full_disk(machine: Machine, tmp_path: Path) -> None:
    """It stays, says so, and records again by itself when there is room: nobody needs to restart it."""
    loop = write_wav(tmp_path / "loop.wav", RATE, 1, speech(RATE, 1, 5 * RATE))
    machine.configure(audio={"input": f"file:{loop}?loop"}, storage={"min_free_mb": 5})
    with small_disk(machine.state, 4), machine.daemon() as daemon:
        wait_for(lambda: daemon.status()["state"] == "storage_full")
        assert daemon.status()["storage"]["full"] is True
        subprocess.run(["mount", "-o", "remount,size=20M", machine.state], check=True)
        wait_for(lambda: daemon.status()["state"] == "recording")
        assert daemon.stop() == 0
        assert machine.queue()
