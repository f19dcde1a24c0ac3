"""What people are shown and told beside a service: words, numbers, local times, and what a member of the group sees."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import grp
import json
import os
import pty
import re
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from acceptance import Json, Machine, machine, server, wait_for
from speech import speech, write_wav

from agent.cli.root import root
from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.server import SandboxServer

NOBODY, STRANGERS, MEMBERS = 65534, 65533, 1
RATE = 16_000
DROP = """
import os, sys
import click
from agent.cli.root import COMMANDS, outcome, root
for name in COMMANDS:
    root.get_command(click.Context(root), name)
uid, gid, groups = int(sys.argv[1]), int(sys.argv[2]), [int(each) for each in sys.argv[3].split()]
os.setgroups(groups)
os.setresgid(gid, gid, gid)
os.setresuid(uid, uid, uid)
sys.exit(outcome(sys.argv[4:]))
"""


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """Speech without an end, as a WAV file."""
    return write_wav(tmp_path / "speech.wav", RATE, 1, speech(RATE, 1, 20 * RATE))


@pytest.fixture
def quiet(machine: Machine, wav: Path) -> Machine:
    """A machine that records when it is told to, and five and a half hours ahead of UTC."""
    machine.environment["TZ"] = "Asia/Kolkata"
    machine.configure(
        audio={"input": f"file:{wav}?loop"}, recording={"mode": "manual"}, heartbeat={"enabled": False}
    )
    return machine


def kolkata(rfc3339: str) -> str:
    """Return a moment of JSON as a person in Kolkata reads it."""
    moment = datetime.fromisoformat(rfc3339) + timedelta(hours=5, minutes=30)
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def test_times_are_local_for_people_and_utc_in_json(quiet: Machine, wav: Path) -> None:
    """In ``queue list``, ``queue show``, ``status`` and ``gaps`` alike."""
    (row,) = quiet.record(wav, "--name", "x")
    listed, shown = quiet.ok("queue", "list").out, quiet.ok("queue", "show", row["id"]).out
    assert kolkata(row["started_at"]) in listed
    assert re.search(rf"^ended_at +{kolkata(row['ended_at'])}$", shown, re.MULTILINE)
    assert f"oldest from {kolkata(row['started_at'])}" in quiet.ok("status").out
    for said in (listed, shown, quiet.ok("status").out):
        assert row["started_at"] not in said
    assert quiet.ok("queue", "show", row["id"], "--json").json["started_at"] == row["started_at"]
    quiet.ok("queue", "delete", row["id"])
    (gap,) = quiet.ok("gaps", "--json").json
    assert gap["from"].endswith("Z")
    assert kolkata(gap["from"]) in quiet.ok("gaps").out


def test_a_recording_is_named_by_its_number_too(quiet: Machine, wav: Path) -> None:
    """``queue show 2`` is the second of the list, with and without the service; a number of none is said."""
    quiet.token_file.unlink()  # so that none is being delivered just when it is to go
    rows = [quiet.record(wav)[0] for _ in range(3)]
    assert quiet.ok("queue", "show", "2", "--json").json["id"] == rows[1]["id"]
    with quiet.daemon() as daemon:
        assert quiet.ok("queue", "show", "3", "--json").json["id"] == rows[2]["id"]
        assert quiet.ok("queue", "delete", "2").out == f"deleted {rows[1]['id']}\n"
        assert quiet.run("queue", "show", "2").sentence(1).startswith("there is no recording 2; ")
        assert daemon.stop() == 0
    assert [row["seq"] for row in quiet.queue()] == [1, 3]
    assert quiet.ok("queue", "show", rows[2]["id"][:18], "--json").json["seq"] == 3


def test_export_says_what_it_wrote_and_that_it_was_nothing(quiet: Machine, wav: Path) -> None:
    """A line for each copy; without any, what to do."""
    (row,) = quiet.record(wav)
    copies = quiet.folder / "copies"
    assert quiet.ok("queue", "export", copies).out == f"{copies / Path(row['path']).name}\n"
    quiet.ok("sync")
    done = quiet.run("queue", "export", copies)
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("nothing to export: ")


def test_a_wav_file_is_named_alike_everywhere(quiet: Machine, wav: Path) -> None:
    """``record --input`` takes what ``audio.input`` takes, and the bare path."""
    plain, prefixed = quiet.record(wav), quiet.ok("record", "--input", f"file:{wav}", "--json").rows
    assert plain[0]["duration_ms"] == prefixed[0]["duration_ms"]


def test_without_a_microphone_beside_a_service_the_exit_code_is_its_own(quiet: Machine) -> None:
    """``record`` and ``level`` end with 69 and a sentence; nothing stays behind that would record later."""
    quiet.configure(audio={"input": "usb-1234:5678-x"})
    with quiet.daemon() as daemon:
        said = quiet.run("record", "--seconds", "1").sentence(69)
        assert "usb-1234:5678-x" in said
        assert "recorder-agent devices" in said
        wait_for(lambda: daemon.status()["state"] == "idle")
        assert daemon.stop() == 0
    quiet.configure(recording={"mode": "continuous"})
    with quiet.daemon() as daemon:
        wait_for(lambda: daemon.status()["state"] == "no_microphone")
        assert "usb-1234:5678-x" in quiet.run("level", "--seconds", "1").sentence(69)
        assert "the microphone usb-1234:5678-x is not there" in quiet.ok("status").out
        assert daemon.stop() == 0


def test_no_microphone_at_all_is_called_so(quiet: Machine) -> None:
    """Nobody has a microphone of the name "default": it is not what is waited for."""
    quiet.configure(audio={"input": "default"}, recording={"mode": "continuous"})
    quiet.environment["ALSA_CONFIG_PATH"] = str(quiet.folder / "none.conf")
    with quiet.daemon() as daemon:
        wait_for(lambda: daemon.status()["state"] == "no_microphone")
        status, level = quiet.ok("status").out, quiet.run("level").sentence(69)
        assert re.search(r"^microphone +no microphone found$", status, re.MULTILINE)
        assert level.startswith("no microphone found; ")
        assert "microphone default" not in status
        assert daemon.stop() == 0


def test_a_muted_recorder_has_no_level(quiet: Machine) -> None:
    """What was heard last is not what is heard now: null, in ``level`` and ``status``."""
    quiet.configure(recording={"mode": "continuous"})
    with quiet.daemon() as daemon:
        wait_for(lambda: daemon.status()["microphone"]["level_dbfs"] is not None)
        quiet.ok("mute")
        wait_for(lambda: daemon.status()["state"] == "muted")
        levels = [line["level_dbfs"] for line in quiet.ok("level", "--seconds", "1", "--json").rows]
        assert set(levels) == {None}
        assert daemon.status()["microphone"]["level_dbfs"] is None
        quiet.ok("unmute")
        assert daemon.stop() == 0


def test_level_listens_where_the_recorder_does_not(quiet: Machine) -> None:
    """Between two windows nothing is open: the command listens itself, and hands over when a recording begins."""
    with quiet.daemon() as daemon:
        wait_for(lambda: daemon.status()["state"] == "idle")
        with quiet.popen("level", "--seconds", "4", "--json", stdout=subprocess.PIPE) as level:
            assert level.stdout is not None
            assert json.loads(level.stdout.readline())["level_dbfs"] is not None
            assert daemon.status()["microphone"]["state"] == "closed"
            quiet.ok("start")
            rest = [json.loads(line)["level_dbfs"] for line in level.stdout]
            assert level.wait(20) == 0
        assert rest[-1] is not None
        quiet.ok("stop")
        assert daemon.stop() == 0


def test_status_knows_of_a_new_token_at_once(quiet: Machine, server: SandboxServer) -> None:
    """``token set`` has tried it, and the service takes its word: no call of its own is needed."""
    quiet.token_file.unlink()
    quiet.settings["api"].pop("token_file")
    quiet.configure()
    with quiet.daemon() as daemon:
        assert daemon.status()["credential"]["state"] == "missing"
        quiet.ok("token", "set", stdin=f"{DEFAULT_TOKEN}\n")
        assert quiet.ok("status", "--json").json["credential"]["state"] == "accepted"
        assert quiet.ok("token", "status", "--json").json["state"] == "accepted"
        assert daemon.stop() == 0
    assert server.requests()


def as_member(
    machine: Machine, *arguments: str, groups: str = str(MEMBERS)
) -> "subprocess.CompletedProcess[str]":
    """Run a command as somebody who owns nothing, in a group."""
    command = [sys.executable, "-P", "-c", DROP, str(NOBODY), str(STRANGERS), groups]
    return subprocess.run(
        [*command, "--config", str(machine.config_file), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=machine.environment | {"RUNTIME_DIRECTORY": str(machine.folder / "run")},
    )


def hidden_libraries() -> set[str]:
    """Return the checks of libraries that this Python hides from others: a home of Debian 13 is closed to them."""
    is_open = all(folder.stat().st_mode & 0o001 for folder in Path(sys.prefix, "lib").parents)
    return set() if is_open else {"libopus", "PortAudio"}


@pytest.fixture
def shared(server: SandboxServer) -> Iterator[Machine]:
    """A machine whose service lets a group in, with a recording, and a gap in its log; not in pytest's own folder.

    Any other run of pytest closes that one to others.
    """
    with tempfile.TemporaryDirectory(prefix="people-", dir="/var/tmp") as name:
        Path(name).chmod(0o711)
        machine = Machine(Path(name) / "machine", server)
        run = machine.folder / "run"
        run.chmod(0o750)
        os.chown(run, 0, MEMBERS)
        machine.environment["RUNTIME_DIRECTORY"] = str(run)
        wav = write_wav(Path(name) / "speech.wav", RATE, 1, speech(RATE, 1, 20 * RATE))
        machine.configure(
            audio={"input": f"file:{wav}?loop"},
            heartbeat={"enabled": False},
            control={"group": grp.getgrgid(MEMBERS).gr_name},
            api={"token_file": ""},
        )
        machine.config_file.chmod(0o644)
        machine.ok("token", "set", stdin=f"{DEFAULT_TOKEN}\n")
        machine.ok("queue", "delete", machine.record(wav)[0]["id"])
        machine.record(wav)
        yield machine


@pytest.mark.root
def test_a_member_of_the_group_sees_what_concerns_it(shared: Machine) -> None:
    """Rows, gaps, level and status as root sees them; the doctor raises no alarm over what it may not look at."""
    with shared.daemon() as daemon:
        wait_for(lambda: daemon.status()["state"] == "recording")
        seen = {
            command: as_member(shared, *command.split())
            for command in ("queue list --json", "gaps --json", "level --seconds 1 --json", "status --json")
        }
        assert {command: done.returncode for command, done in seen.items()} == dict.fromkeys(seen, 0), seen
        rows: list[Json] = json.loads(seen["queue list --json"].stdout)
        assert [row["seq"] for row in rows][:1] == [2]
        assert "deleted" in {gap["cause"] for gap in json.loads(seen["gaps --json"].stdout)}
        assert json.loads(as_member(shared, "queue", "show", "2", "--json").stdout)["id"] == rows[0]["id"]
        examined = as_member(shared, "doctor", "--json")
        found = json.loads(examined.stdout)
        alarms = {row["check"] for row in found if row["state"] == "critical"}
        assert alarms <= hidden_libraries(), examined
        assert any("owner" in row["message"] for row in found if row["state"] == "skipped")
        stranger = as_member(shared, "queue", "list", groups="")
        assert stranger.returncode == 1
        assert "may not" in stranger.stderr or "no right" in stranger.stderr
        assert daemon.stop() == 0


@pytest.mark.root
def test_token_set_asks_for_rights_before_the_secret(shared: Machine) -> None:
    """Who may not set it is told so before anything is typed: on a terminal no prompt appears."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-P", "-c", DROP, str(NOBODY), str(STRANGERS), ""]
    with subprocess.Popen(
        [*command, "--config", str(shared.config_file), "token", "set"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=shared.environment,
    ) as process:
        os.close(theirs)
        assert process.wait(30) == 1
        said = b""
        while select.select([ours], [], [], 0.2)[0]:
            try:
                said += os.read(ours, 4096)
            except OSError:
                break
    os.close(ours)
    assert b"no right to use the state directory" in said
    assert b"Device token" not in said


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
@pytest.mark.parametrize("group", [[], ["queue"], ["token"], ["config"], ["led"]])
def test_summaries_of_the_help_are_whole(
    group: list[str], columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a narrow terminal they go on below; none ends in dots."""
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit, match="0"):
        root.main([*group, "--help"], prog_name="recorder-agent")
    said = capsys.readouterr().out
    assert "..." not in said.replace("[ARGS]...", "")
    assert said.count("\n") > len(group) + 3
