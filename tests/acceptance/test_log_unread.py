"""Nobody reads the recorder's log, or nobody can: it records, and ends when it is told to."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import os
import pty
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance import Machine, end_deliverer, machine, server, wait_for
from log_pipe import Pipe
from speech import speech, write_wav


@pytest.fixture
def recording(machine: Machine, tmp_path: Path) -> Machine:
    """A machine that records a file over and over."""
    write_wav(tmp_path / "speech.wav", 16_000, 1, speech(16_000, 1, 320_000))
    machine.configure(
        audio={"input": f"file:{tmp_path / 'speech.wav'}?loop"},
        heartbeat={"enabled": False},
        log={"level": "debug"},
    )
    return machine


def is_recording(machine: Machine) -> bool:
    run = machine.run("status", "--json")
    return run.code == 0 and run.json["state"] == "recording"


def standard_error_of(process: "subprocess.Popen[str]") -> Path:
    return Path(f"/proc/{process.pid}/fd/2").readlink()


def records_and_ends(
    machine: Machine, process: "subprocess.Popen[str]", is_right: Callable[[], bool] = lambda: True
) -> None:
    """It records, goes on recording, is right, and ends at SIGTERM as soon as ever."""
    try:
        wait_for(lambda: is_recording(machine))
        assert is_right()
        before = machine.ok("status", "--json").json["recording"]["duration_ms"]
        wait_for(lambda: machine.ok("status", "--json").json["recording"]["duration_ms"] > before + 1000)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        end_deliverer(machine.state)
    assert [row["status"] for row in machine.queue()] != []


def test_run_into_a_full_pipe(recording: Machine) -> None:
    """Nobody has ever read it."""
    pipe = Pipe()
    pipe.fill()
    with recording.popen("run", stderr=pipe.write_end) as process:
        records_and_ends(recording, process)
    pipe.close()


def test_run_on_a_terminal_after_ctrl_s(recording: Machine) -> None:
    """The terminal's output is stopped before the first line."""
    ours, theirs = pty.openpty()
    os.write(ours, b"\x13")  # Ctrl-S
    with recording.popen("run", stderr=theirs, stdin=theirs) as process:
        records_and_ends(recording, process)
    os.close(theirs)
    os.close(ours)


@pytest.mark.parametrize("closed", ["2>&-", "2>&- >&- <&-"])
def test_run_without_a_standard_error(recording: Machine, closed: str) -> None:
    """Closed by whoever started it: it runs, and no file of its own takes the place."""
    command = " ".join(f"'{word}'" for word in (*recording.program, "--config", recording.config_file, "run"))
    with subprocess.Popen(
        ["/bin/sh", "-c", f"exec {command} {closed}"],
        env=recording.environment,
        cwd=recording.folder,
        text=True,
    ) as process:
        records_and_ends(recording, process, lambda: standard_error_of(process) == Path("/dev/null"))


def test_a_second_run_with_a_full_pipe_ends(recording: Machine) -> None:
    """Its one sentence finds no reader: it ends all the same, with its code."""
    pipe = Pipe()
    pipe.fill()
    with recording.daemon(), recording.popen("run", stderr=pipe.write_end) as second:
        assert second.wait(20) == 1
    pipe.close()
