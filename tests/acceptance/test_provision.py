"""``provision`` from outside: what a folder brings is taken as a whole, or refused and nothing is changed."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w
from acceptance import Json, Machine, machine, server, wait_for

from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.server import SandboxServer
from agent.sandbox.web.tls import Authority

FAILING = """
import errno, os, sys, importlib
module, _, name = sys.argv[2].rpartition(".")
target = importlib.import_module(sys.argv[1])
target = getattr(target, module) if module else target
real = getattr(target, name)
def fails(file, *rest):
    path = str(file) if hasattr(file, "name") else os.readlink(f"/proc/self/fd/{file}")
    if path.endswith("/stick/recorder-agent/device-token"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return real(file, *rest)
setattr(target, name, fails)
from agent.cli.root import outcome
sys.exit(outcome(sys.argv[3:]))
"""
"""The command line on a medium whose device-token fails at a function of a module."""
FULL = """
import errno, os, sys
from agent.disk import Disk
real = Disk.write
def write(self, file, data, step):
    if step == "provision.write":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    real(self, file, data, step)
Disk.write = write
from agent.cli.root import outcome
sys.exit(outcome(sys.argv[1:]))
"""
"""The command line beside settings on a disk that is full."""
PLACES = """
import sys
from pathlib import Path
from agent.provision import places
places.BOOT, places.STICK = (Path(sys.argv[1]),), Path(sys.argv[2])
from agent.cli.root import outcome
sys.exit(outcome(sys.argv[3:]))
"""
"""The command line of a machine with another boot partition and another stick."""
OTHER = "dtok_somebody-elses"


@pytest.fixture
def blank(machine: Machine) -> Machine:
    """A machine with settings of its own and no device token."""
    machine.token_file.unlink()
    machine.settings["api"].pop("token_file")
    machine.configure(heartbeat={"enabled": False})
    return machine


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    """A folder that somebody brings."""
    folder = tmp_path / "stick" / "recorder-agent"
    folder.mkdir(parents=True)
    return folder


def settings(machine: Machine, **sections: Json) -> str:
    """Return the machine's settings with some changes, as a file."""
    changed = {name: dict(values) for name, values in machine.settings.items()}
    for name, values in sections.items():
        changed[name] = changed.get(name, {}) | values
    return tomli_w.dumps(changed)


def everything(*folders: Path) -> dict[str, tuple[bytes, int]]:
    """Return what lies in some folders, without locks and without result.txt."""
    return {
        str(path): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "result.txt" and "lock" not in path.name
    }


def result(stick: Path) -> str:
    """Return what was said beside what was brought."""
    return (stick / "result.txt").read_text()


def refused(machine: Machine, stick: Path) -> str:
    """Let a folder be refused, and return why; nothing may have changed, in it or here."""
    before = everything(machine.folder, stick)
    run = machine.run("provision", "--from", stick)
    assert run.code == 1, run
    assert everything(machine.folder, stick) == before
    assert not re.search(r"dtok_\w", run.err + result(stick))
    assert "refused, and nothing was changed" in result(stick)
    return run.err


def test_settings_and_token_are_taken(blank: Machine, stick: Path) -> None:
    """With the right modes; the token is gone from the folder, in use, and accepted; once is enough."""
    stick.joinpath("config.toml").write_text(settings(blank, recording={"segment_seconds": 77}))
    stick.joinpath("device-token").write_text(f"\ufeff{DEFAULT_TOKEN}\r\n")
    run = blank.ok("provision", "--from", stick)
    assert "config.toml is in use" in run.out
    assert "systemctl restart recorder-agent.target" in run.out
    assert not stick.joinpath("device-token").exists()
    assert stick.joinpath("config.toml").exists()
    assert "accepted" in result(stick)
    assert "dtok_" not in result(stick) + run.out
    token = blank.state / "token" / "device-token"
    assert token.read_text().strip() == DEFAULT_TOKEN
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(blank.config_file.stat().st_mode) == 0o644
    assert blank.ok("config", "show", "--json").json["recording"]["segment_seconds"] == 77
    assert blank.ok("token", "status", "--json").json["source"] == "state"
    said = stick.joinpath("result.txt").stat().st_mtime_ns
    blank.config_file.write_text(blank.config_file.read_text().replace("77", "78"))  # the owner, later
    assert "nothing new" in blank.ok("provision", "--from", stick).out
    assert "78" in blank.config_file.read_text()
    assert stick.joinpath("result.txt").stat().st_mtime_ns == said


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("config.toml", b"[recording]\nsegment_secondss = 5\n", "segment_seconds"),
        ("config.toml", b"[recording]\nsegment_seconds = 60", "its end may be missing"),
        ("config.toml", b"[recording]\n" + bytes(500), "zeros"),
        ("config.toml", b"# \xff\n", "UTF-8"),
        ("device-token", b"", "empty"),
        ("device-token", b"hello world\n", "no device token"),
        ("device-token", b"dtok_abc" + bytes(20), "zeros"),
        ("device-token", b"dtok_" + b"x" * 9000, "larger"),
        ("ca.pem", b"-----BEGIN CERTIFICATE-----\nMIIB\n", "no certificate"),
    ],
)
def test_what_is_wrong_is_refused_as_a_whole(
    blank: Machine, stick: Path, name: str, content: bytes, why: str
) -> None:
    """Also when the rest is right: settings and token stay as they are, and the token where it is."""
    stick.joinpath("config.toml").write_text(settings(blank, recording={"segment_seconds": 77}))
    stick.joinpath("device-token").write_text(f"{DEFAULT_TOKEN}\n")
    stick.joinpath(name).write_bytes(content)
    assert why in refused(blank, stick)
    assert not (blank.state / "token" / "device-token").exists()


@pytest.mark.parametrize("kind", ["folder", "link", "fifo"])
def test_what_is_no_file_is_refused(blank: Machine, stick: Path, kind: str, tmp_path: Path) -> None:
    """A folder, a link and a FIFO hold up nobody, and nothing behind a link is read or wiped."""
    precious = tmp_path / "precious"
    precious.write_text(f"{DEFAULT_TOKEN}\n")
    target = stick / "device-token"
    if kind == "folder":
        target.mkdir()
    elif kind == "link":
        target.symlink_to(precious)
    else:
        os.mkfifo(target)
    run = blank.run("provision", "--from", stick)
    assert run.code == 1
    assert "is not a regular file" in run.err
    assert precious.read_text() == f"{DEFAULT_TOKEN}\n"


def test_a_second_token_is_for_the_owner_to_allow(blank: Machine, stick: Path) -> None:
    """Refused while one is set; its own settings cannot allow it; the same one again is none, and is removed."""
    blank.ok("token", "set", stdin=DEFAULT_TOKEN)
    stick.joinpath("device-token").write_text(f"{OTHER}\n")
    assert "there is a device token already" in refused(blank, stick)
    stick.joinpath("config.toml").write_text(settings(blank, provision={"replace_token": True}))
    assert "there is a device token already" in refused(blank, stick)
    stick.joinpath("device-token").write_text(f"{DEFAULT_TOKEN}\n")
    assert "provision.replace_token" in refused(blank, stick)
    stick.joinpath("config.toml").unlink()
    blank.ok("provision", "--from", stick)
    assert not stick.joinpath("device-token").exists()
    blank.configure(provision={"replace_token": True})
    stick.joinpath("device-token").write_text(f"{OTHER}\n")
    blank.ok("provision", "--from", stick)
    assert (blank.state / "token" / "device-token").read_text().strip() == OTHER


def test_a_stick_does_not_lead_the_token_elsewhere(blank: Machine, stick: Path) -> None:
    """Another API, a program that runs where it lies: refused while a token is set, taken while none is."""
    stick.joinpath("config.toml").write_text(settings(blank, hooks={"on_fault": "/bin/true"}))
    blank.ok("token", "set", stdin=DEFAULT_TOKEN)
    assert "hooks.on_fault" in refused(blank, stick)
    elsewhere = settings(blank, api={"base_url": "https://thief.example/v1"})
    stick.joinpath("config.toml").write_text(elsewhere)
    assert "api.base_url" in refused(blank, stick)
    (blank.state / "token" / "device-token").unlink()
    blank.ok("provision", "--from", stick)
    assert blank.ok("config", "show", "--json").json["api"]["base_url"] == "https://thief.example/v1"


def test_a_certificate_is_taken_where_a_setting_names_it(blank: Machine, stick: Path, tmp_path: Path) -> None:
    """A certificate that nothing would use is said to be one."""
    Authority(tmp_path).certify("127.0.0.1")
    certificate = tmp_path / "ca.pem"
    stick.joinpath("ca.pem").write_bytes(certificate.read_bytes())
    place = blank.config_file.with_name("ca.pem")
    assert f'ca_file = "{place}"' in refused(blank, stick)
    stick.joinpath("config.toml").write_text(settings(blank, api={"ca_file": str(place)}))
    blank.ok("provision", "--from", stick)
    assert place.read_bytes() == certificate.read_bytes()
    assert stat.S_IMODE(place.stat().st_mode) == 0o644


def test_beside_a_service_the_token_is_tried(blank: Machine, stick: Path) -> None:
    """By hand beside a running recorder it is set as ``token set`` does, and known to status at once."""
    blank.configure(recording={"mode": "manual"})
    stick.joinpath("device-token").write_text(DEFAULT_TOKEN)
    with blank.daemon() as daemon:
        blank.ok("provision", "--from", stick)
        assert daemon.status()["credential"]["state"] == "accepted"
    assert not stick.joinpath("device-token").exists()


def test_a_medium_that_fails_while_the_token_is_removed(blank: Machine, stick: Path) -> None:
    """It is in use, and that it is still there is said, with exit 1; the next start removes it."""
    stick.joinpath("device-token").write_text(f"{DEFAULT_TOKEN}\n")
    program = blank.program
    blank.program = [sys.executable, "-c", FAILING, "agent.disk", "os.pwrite"]
    run = blank.run("provision", "--from", stick)
    assert run.code == 1
    assert "could not be removed from here (Input/output error)" in run.err
    assert "could not be removed" in result(stick)
    assert (blank.state / "token" / "device-token").read_text().strip() == DEFAULT_TOKEN
    blank.program = program
    blank.ok("provision", "--from", stick)
    assert not stick.joinpath("device-token").exists()


def test_a_medium_that_fails_while_it_is_read(blank: Machine, stick: Path) -> None:
    """Pulled in the middle of a file: nothing was changed."""
    stick.joinpath("config.toml").write_text(settings(blank, recording={"segment_seconds": 77}))
    stick.joinpath("device-token").write_text(f"{DEFAULT_TOKEN}\n")
    blank.program = [sys.executable, "-c", FAILING, "agent.provision.offer", "read_bytes"]
    assert "cannot be read (Input/output error)" in refused(blank, stick)
    assert not (blank.state / "token" / "device-token").exists()


def test_nothing_brought_is_said_to_who_types_it(blank: Machine, stick: Path, tmp_path: Path) -> None:
    """An empty folder, or none: exit 0, a sentence and no file; not a word at a boot."""
    assert "nothing new" in blank.ok("provision", "--from", stick).out
    blank.program = [sys.executable, "-c", PLACES, tmp_path / "no-boot", tmp_path / "no-stick"]
    assert "no folder recorder-agent on the boot partition" in blank.ok("provision").out
    blank.environment["INVOCATION_ID"] = "0" * 32
    assert blank.ok("provision").out == ""
    assert list(stick.iterdir()) == []


def test_a_stick_that_cannot_be_mounted_keeps_nothing_from_the_boot_partition(
    blank: Machine, stick: Path, tmp_path: Path
) -> None:
    """What that brings is in use, and the stick is named, with exit 1."""
    stick.joinpath("config.toml").write_text(settings(blank, recording={"segment_seconds": 77}))
    no_medium = tmp_path / "RECORDER"
    no_medium.write_bytes(b"no file system")
    blank.program = [sys.executable, "-c", PLACES, stick.parent, no_medium]
    run = blank.run("provision")
    assert "the stick cannot be mounted" in run.sentence(1)
    assert "config.toml is in use" in run.out
    assert "accepted" in result(stick)
    assert "segment_seconds = 77" in blank.config_file.read_text()


def test_settings_that_cannot_be_written_are_said_beside_them(blank: Machine, stick: Path) -> None:
    """A disk that refuses: one sentence, in result.txt too, and it is tried again."""
    stick.joinpath("config.toml").write_text(settings(blank, recording={"segment_seconds": 77}))
    blank.program = [sys.executable, "-c", FULL]
    assert "No space left on device" in blank.run("provision", "--from", stick).sentence(1)
    assert "failed, and is tried again at the next start" in result(stick)
    assert "No space left on device" in result(stick)
