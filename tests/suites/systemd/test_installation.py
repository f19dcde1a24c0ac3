"""The installer: on a bare Debian, with the wrong things, and away again."""

from collections.abc import Callable
from pathlib import Path

import pytest
from container import Container
from installed import INSTALL_SECONDS, Installation
from machine import CONFIG, DELIVERY, PROJECT, SOURCE, STATE, TARGET, UNIT, UNITS, Recorder

pytest_plugins = ["stage"]

NewRecorder = Callable[[str], Recorder]
NewContainer = Callable[..., Container]
pytestmark = pytest.mark.usefixtures("waiting")  # their two minutes pass meanwhile
FRIGHTENING = ("Traceback", "rror:", "arning", "denied", "Failed", "failed", "cannot", "WARNING", "refused")


def test_installed_and_recording_by_one_command(installation: Installation) -> None:
    """The installer ends when it records; nothing frightening is said by it or in the journal."""
    print(f"\ninstalled and recording after {installation.seconds:.0f} s")
    assert "it records." in installation.said.stdout
    assert installation.said.stderr == ""
    assert installation.unit["ActiveState"] == "active"
    assert installation.unit["NRestarts"] == "0"
    print(installation.journal)
    for word in FRIGHTENING:
        assert word not in installation.said.stdout
        assert word not in installation.journal


def test_the_status_line_says_what_a_person_wants_to_know(installation: Installation) -> None:
    """``systemctl status`` shows what it does, in one line."""
    print(f"\n{installation.status}")
    assert installation.unit["StatusText"].startswith("recording")
    assert f'Status: "{installation.unit["StatusText"][:9]}' in installation.status


def test_what_it_records_is_delivered(installation: Installation) -> None:
    """A recording reaches the API of the settings with the token of the file."""
    print(f"\ndelivered {len(installation.copies)} after {installation.to_delivery:.1f} s")
    assert set(installation.copies.values()) == {1}
    assert installation.answer["credential"]["state"] == "accepted"
    assert installation.answer["clock"]["source"] != "unknown"


@pytest.fixture(scope="module")
def recording(new_recorder: NewRecorder) -> Recorder:
    """An installed machine that records."""
    recorder = new_recorder("again")
    recorder.systemctl("start")
    recorder.wait_sound(20)
    return recorder


def test_settings_that_are_not_right_stop_it_before_anything_changes(recording: Recorder) -> None:
    """It names the file and what is wrong in it, and the service that runs is not touched."""
    container = recording.container
    kept = container.path(CONFIG).read_text("utf-8")
    process = recording.unit()["MainPID"]
    container.write(CONFIG, f"{kept}\n[opus]\nframe_ms = 30\n")
    said = container.run(f"{SOURCE}/systemd/install", "--unattended", timeout=INSTALL_SECONDS, check=False)
    container.write(CONFIG, kept)
    print(f"\n{said.stderr}")
    assert said.returncode == 1
    assert CONFIG in said.stderr
    assert "frame_ms" in said.stderr
    assert recording.unit()["MainPID"] == process
    assert len(container.run("ls", "/opt/recorder-agent/versions").stdout.split()) == 1


def test_a_person_chooses_a_microphone_and_types_a_token(new_recorder: NewRecorder) -> None:
    """On a terminal it looks for microphones, asks for the token up to three times, and keeps the comments.

    Without a microphone it says so, also by its exit code.
    """
    recorder = new_recorder("person")
    container = recorder.container
    container.shell(f"rm -rf /etc/recorder-agent {STATE}")
    script = (
        "import os, pty, sys, time\n"
        "pid, fd = pty.fork()\n"
        "if pid == 0:\n"
        f"    os.execv('{SOURCE}/systemd/install', ['install', '--base-url', '{recorder.sandbox.base_url}'])\n"
        "seen = shown = b''\n"
        "tokens = [b'dtok_wrong', b'dtok_wrong_too', b'dtok_sandbox']\n"
        "while True:\n"
        "    try:\n"
        "        data = os.read(fd, 4096)\n"
        "    except OSError:\n"
        "        break\n"
        "    shown += data\n"
        "    seen += data\n"
        "    if b'Device token' in seen:\n"
        "        seen = b''\n"
        "        time.sleep(0.5)\n"
        "        os.write(fd, tokens.pop(0) + b'\\n')\n"
        "sys.stdout.buffer.write(shown)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    said = container.run("python3", "-c", script, timeout=INSTALL_SECONDS, check=False)
    print(f"\n{said.stdout}{said.stderr}")
    assert said.returncode == 69
    assert "dtok_" not in said.stdout
    assert "there is no microphone yet" in said.stdout
    assert any("does not record: no microphone" in line for line in said.stdout.splitlines()[-5:])
    assert recorder.answer("token", "status")["state"] in {"accepted", "unknown"}
    example = (PROJECT / "config/recorder-agent.toml").read_text("utf-8").splitlines()
    now = container.path(CONFIG).read_text("utf-8").splitlines()
    assert [line for line in now if line not in example] == [f'base_url = "{recorder.sandbox.base_url}"']
    assert [line for line in example if line not in now] == ['#base_url = "https://api.bota.dev/v1"']


@pytest.mark.parametrize("options", [["--colour"], ["--token-file"], ["--input", ""]])
def test_a_wrong_call_is_one_sentence(recording: Recorder, options: list[str]) -> None:
    """Exit 2, and --help tells what there is."""
    said = recording.container.run(f"{SOURCE}/systemd/install", *options, check=False)
    assert said.returncode == 2
    assert said.stderr.count("\n") == 1
    assert "--token-file FILE" in recording.container.run(f"{SOURCE}/systemd/install", "--help").stdout


def test_it_stays_away_where_the_debian_package_is(recording: Recorder) -> None:
    """It says what to do instead, and changes nothing."""
    container = recording.container
    status = container.path("/var/lib/dpkg/status")
    kept = status.read_text("utf-8")
    stanza = {
        "Package": "recorder-agent",
        "Status": "install ok installed",
        "Version": "1",
        "Architecture": "all",
    }
    stanza |= {"Maintainer": "nobody <nobody@example.org>", "Description": "the recorder"}
    status.write_text(kept + "".join(f"{key}: {value}\n" for key, value in stanza.items()) + "\n", "utf-8")
    for script in ("install", "uninstall"):
        said = container.run(f"{SOURCE}/systemd/{script}", "--unattended", check=False)
        assert said.returncode == 1
        assert "Debian package" in said.stderr
    status.write_text(kept, "utf-8")
    assert recording.state() == "recording"


def is_undelivered(path: Path) -> bool:
    """Whether a file is sound that no API has confirmed."""
    return path.parent.name != "sent" and ".json" not in path.name


def test_uninstalled_and_back_again(recording: Recorder) -> None:
    """All that is a person's outlives it, and a new token that the API refuses (exit 77); then everything goes."""
    container = recording.container
    recording.sandbox.stop()
    container.wait_for(lambda: recording.finished() - set(recording.copies()), 20, "queue")
    said = container.run("/opt/recorder-agent/uninstall", "--unattended")
    print(f"\n{said.stdout}{said.stderr}")
    assert {container.show(unit, "LoadState")["LoadState"] for unit in (UNIT, DELIVERY, TARGET)} == {
        "not-found"
    }
    left = container.shell(
        "ls -d /opt/recorder-agent /usr/local/bin/recorder-agent /etc/udev/rules.d/60-recorder-agent.rules || true"
    )
    assert left == ""
    assert not list(container.path(UNITS).rglob("*older*")) + list(
        container.path(UNITS).rglob("*recorder*.target")
    )
    kept = {path.name for path in container.path(f"{STATE}/outbox").glob("*.opus")}
    assert kept
    recording.sandbox.start()
    container.write("/root/wrong", "dtok_wrong\n", 0o600)
    said = container.run(
        f"{SOURCE}/systemd/install", "--unattended", "--token-file", "/root/wrong",
        timeout=INSTALL_SECONDS, check=False,
    )  # fmt: skip
    print(f"{said.stdout}{said.stderr}")
    assert said.returncode == 77
    assert "the one before" in said.stderr
    assert "there is no token" not in said.stdout
    assert "dtok_wrong" not in said.stdout + said.stderr + container.journal()
    assert recording.answer("token", "status")["state"] != "missing"
    recording.wait_state("recording")
    assert {name.split("-")[1] for name in kept} <= {
        str(row["seq"]).zfill(8) for row in recording.queue().values()
    }
    container.write("/root/failing/find", "#!/bin/sh\nexit 1\n", 0o755)
    uncounted = container.run(
        f"{SOURCE}/systemd/uninstall", "--unattended",
        env={"PATH": "/root/failing:/usr/sbin:/usr/bin:/sbin:/bin"},
    )  # fmt: skip
    assert "cannot be told" in uncounted.stdout
    assert container.path(STATE).exists()
    lone = container.path(f"{STATE}/damaged/one.opus")
    lone.write_bytes(b"sound")
    waiting = len([path for path in container.path(STATE).rglob("*.opus*") if is_undelivered(path)])
    said = container.run(f"{SOURCE}/systemd/uninstall", "--delete-recordings")
    print(f"{said.stdout}{said.stderr}")
    told = "1 recording that was" if waiting == 1 else f"{waiting} recordings that were"
    assert f"{STATE} holds {told} not delivered" in said.stdout
    assert f"({waiting} not delivered)" in said.stdout
    assert container.shell(f"ls -d {STATE} /etc/recorder-agent /opt/recorder-agent || true") == ""
    assert container.run("id", "recorder-agent", check=False).returncode == 1
