"""``doctor --record``: one test recording, followed from the microphone to the API, beside a daemon and without one."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import contextlib
import os
import pty
import re
import subprocess
import wave
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from acceptance import Json, Machine, likeness, machine, server, stored, wait_for
from opusfile import decode
from speech import speech, write_wav

from agent.control.server import ask
from agent.disk import Disk
from agent.doctor.examination import Health
from agent.doctor.trial import NAME, Trial
from agent.facade.context import Session
from agent.process.state_directory import StateDirectory
from agent.recording.asked.mute import Mute
from agent.sandbox.faults import Call, Fault
from agent.sandbox.server import SandboxServer

RATE = 16_000


@pytest.fixture
def hearing(machine: Machine, tmp_path: Path) -> Machine:
    """A machine that hears speech without an end, when asked to."""
    loop = write_wav(tmp_path / "loop.wav", RATE, 1, speech(RATE, 1, 20 * RATE))
    machine.configure(audio={"input": f"file:{loop}?loop"}, recording={"mode": "manual"})
    return machine


def quick(machine: Machine, timeout: float = 8.0) -> tuple[Trial, Session]:
    """Return a trial that does not take long, and its session."""
    return Trial(1.0, timeout), Session(machine.config_file)


def trials(machine: Machine) -> list[Json]:
    """Return the rows of test recordings."""
    return [row for row in machine.queue() if row["metadata"].get("doctor")]


def test_from_outside_without_a_daemon(hearing: Machine, server: SandboxServer) -> None:
    """Both checks are healthy, the recording is at the API, says that it is a test, and three seconds long."""
    rows = {row["check"]: row for row in hearing.ok("doctor", "--record", "--json").json}
    assert list(rows)[-2:] == ["test recording", "test delivery"]
    assert all(list(row) == ["check", "state", "message", "hint"] for row in rows.values())
    assert (rows["test recording"]["state"], rows["test delivery"]["state"]) == ("healthy", "healthy"), rows
    (row,) = trials(hearing)
    assert (row["status"], row["duration_ms"]) == ("uploaded", 3000)
    assert row["id"] in rows["test recording"]["message"]
    assert row["remote_id"] in rows["test delivery"]["message"]
    assert stored(server, row["id"])[0].stat().st_size == row["size_bytes"]
    (remote,) = server.state.recordings.by_id.values()
    assert remote.metadata["doctor"] is True
    assert NAME in str(remote)


@pytest.mark.parametrize(("name", "beside"), [("copy.wav", False), ("copy", True)])
def test_a_copy_to_listen_to(hearing: Machine, name: str, beside: bool) -> None:
    """``--listen`` alone records, sends and keeps: three seconds, as they sound or as they are sent, for its owner."""
    copy = hearing.folder / "of mine" / name
    copy.parent.mkdir()
    copy.write_bytes(b"an older one")
    with hearing.daemon() if beside else contextlib.nullcontext():
        rows = {row["check"]: row for row in hearing.ok("doctor", "--listen", copy, "--json").json}
    assert list(rows)[-3:] == ["test recording", "test copy", "test delivery"]
    assert [row["state"] for row in rows.values()][-3:] == ["healthy"] * 3, rows
    assert str(copy) in rows["test copy"]["message"]
    (row,) = trials(hearing)
    if copy.suffix == ".wav":
        with wave.open(str(copy)) as wav:
            assert (wav.getframerate(), wav.getnframes()) == (48_000, 3 * 48_000)
            heard = wav.readframes(3 * 48_000)
        assert likeness(heard, decode(Path(row["path"]), 48_000)) > 0.99
    else:
        assert copy.read_bytes() == Path(row["path"]).read_bytes()
    assert copy.stat().st_mode & 0o777 == 0o600


def test_a_copy_that_cannot_be_written_is_said_before_anything_is_recorded(hearing: Machine) -> None:
    """One sentence, and no test recording; a folder is no file."""
    (hearing.folder / "a file").write_text("")
    said = hearing.run("doctor", "--listen", hearing.folder / "a file" / "b.wav").sentence(1)
    assert "cannot be written" in said
    assert hearing.run("doctor", "--listen", hearing.folder).code == 2
    assert trials(hearing) == []


@pytest.mark.parametrize("mode", ["continuous", "manual"])
def test_beside_a_daemon(hearing: Machine, server: SandboxServer, mode: str) -> None:
    """The daemon records and delivers the test, and goes on with what it did."""
    hearing.configure(recording={"mode": mode})
    trial, session = quick(hearing)
    with hearing.daemon() as daemon:
        was = "recording" if mode == "continuous" else "idle"
        wait_for(lambda: daemon.status()["state"] == was)
        recorded, delivered = trial.record(session), trial.deliver(session)
        assert (recorded.state, delivered.state) == (Health.HEALTHY, Health.HEALTHY), (recorded, delivered)
        wait_for(lambda: daemon.status()["state"] == was)
        (row,) = trials(hearing)
        assert (row["status"], row["duration_ms"]) == ("uploaded", 1000)
        assert len(stored(server, row["id"])) == 1
        assert daemon.stop() == 0


def test_a_recording_by_hand_is_left_alone(hearing: Machine) -> None:
    """What a person has started is not ended for a test."""
    trial, session = quick(hearing)
    with hearing.daemon() as daemon:
        answer = ask(StateDirectory(hearing.state, hearing.state).socket, {"command": "start"})
        wait_for(lambda: any(row["status"] == "recording" for row in hearing.queue()))
        finding = trial.record(session)
        assert finding.state is Health.WARNING
        assert "a person has started" in finding.message
        assert daemon.status()["recording"]["id"] == answer["id"]
        assert trial.deliver(session).state is Health.SKIPPED


@pytest.mark.parametrize("running", [True, False])
def test_a_mute_is_respected(hearing: Machine, running: bool) -> None:
    """A muted recorder records nothing, for a test neither."""
    trial, session = quick(hearing)
    session.enter()
    Mute(hearing.state, Disk()).turn(on=True)
    if running:
        with hearing.daemon() as daemon:
            wait_for(lambda: daemon.status()["state"] == "muted")
            finding = trial.record(session)
    else:
        finding = trial.record(session)
    assert (finding.state, "unmute" in finding.hint) == (Health.WARNING, True), finding
    assert trial.deliver(session).state is Health.SKIPPED
    assert hearing.queue() == []


@pytest.mark.parametrize("running", [True, False])
def test_off_peak_hours_are_named(hearing: Machine, server: SandboxServer, running: bool) -> None:
    """The owner's hours hold for the test too: it waits, and that is said with the time, at once."""
    start = datetime.now(UTC) + timedelta(hours=2)
    hearing.configure(
        sync={
            "off_peak_hours": {
                "start": f"{start:%H:%M}",
                "end": f"{start + timedelta(hours=1):%H:%M}",
                "timezone": "UTC",
            }
        }
    )
    trial, session = quick(hearing, timeout=30)
    if running:
        with hearing.daemon():
            trial.record(session)
            finding = trial.deliver(session)
    else:
        trial.record(session)
        finding = trial.deliver(session)
    assert finding.state is Health.WARNING
    assert f"off-peak, until {start.astimezone():%H:%M}" in finding.message, finding
    assert "sync" in finding.hint
    assert trials(hearing)[0]["status"] == "ready"
    assert not server.state.recordings.by_id


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize(
    ("call", "status", "state", "words"),
    [
        (Call.CREATE, 422, Health.CRITICAL, "parked"),
        (Call.CREATE, 503, Health.WARNING, "waits to be created"),
        (Call.UPLOAD_URL, 503, Health.WARNING, "waits to be uploaded"),
        (Call.COMPLETE, 503, Health.WARNING, "has not confirmed"),
    ],
)
def test_the_step_at_which_it_stands(
    hearing: Machine,
    server: SandboxServer,
    running: bool,
    call: Call,
    status: int,
    state: Health,
    words: str,
) -> None:
    """A delivery that does not end is said with its step, within the time allowed."""
    server.faults.add(Fault(call, times=None, status=status, body={"error": {"code": "x", "message": "No."}}))
    trial, session = quick(hearing, timeout=2.0)
    if running:
        with hearing.daemon():
            trial.record(session)
            finding = trial.deliver(session)
    else:
        trial.record(session)
        finding = trial.deliver(session)
    assert finding.state is state, finding
    assert words in finding.message, finding
    assert str(status) in finding.message or state is Health.WARNING, finding
    assert finding.hint


def test_a_backlog_goes_first_and_is_not_waited_for(hearing: Machine, tmp_path: Path) -> None:
    """Older recordings are sent before the test; when that takes too long, it says how many others wait."""
    wav = write_wav(tmp_path / "long.wav", RATE, 1, speech(RATE, 1, 30 * RATE))
    for _ in range(3):
        hearing.record(wav)
    hearing.configure(sync={"max_kbit_per_second": 32})
    trial, session = quick(hearing, timeout=2.0)
    assert trial.record(session).state is Health.HEALTHY
    finding = trial.deliver(session)
    assert finding.state is Health.WARNING
    assert "3 others wait" in finding.message, finding
    assert trials(hearing)[0]["status"] == "ready"


def test_a_source_without_sound_is_an_error(hearing: Machine, tmp_path: Path) -> None:
    """An input that cannot be opened is the finding of the recording; there is nothing to deliver."""
    hearing.configure(audio={"input": f"file:{tmp_path / 'gone.wav'}"})
    code = hearing.run("doctor", "--record", "--json")
    rows = {row["check"]: row["state"] for row in code.json}
    assert (code.code, rows["test recording"], rows["test delivery"]) == (1, "skipped", "skipped")


@pytest.mark.parametrize("beside", [True, False])
def test_it_is_seen_to_go(hearing: Machine, beside: bool) -> None:
    """On a terminal seconds and level move while it records, beside a service and without one."""
    hearing.configure(api={"base_url": "http://127.0.0.1:9/v1"})  # so that nothing is waited for behind it
    ours, theirs = pty.openpty()
    shown = b""
    with contextlib.ExitStack() as stack:
        if beside:
            stack.enter_context(hearing.daemon())
        command = ("doctor", "--listen", hearing.folder / "a.wav")
        process = stack.enter_context(hearing.popen(*command, stdout=subprocess.DEVNULL, stderr=theirs))
        os.close(theirs)
        with contextlib.suppress(OSError):  # the other side is closed
            while data := os.read(ours, 65536):
                shown += data
        os.close(ours)
        assert process.wait(60) == 1  # nothing answers at the API
    seconds = re.findall(r"recording (\d\.\d) s of 3 s  \[#+", shown.decode())
    assert len(set(seconds)) >= 3, shown
    assert (hearing.folder / "a.wav").stat().st_size > 250_000
