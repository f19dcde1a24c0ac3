"""``report`` from outside: beside a service, without one, as a member of the group, and on odd files."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import os
import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from acceptance import Json, Machine, Run, machine, server, wait_for
from speech import speech, write_wav

from agent.control.server import ask
from agent.process.state_directory import StateDirectory

RATE = 16_000


@pytest.fixture
def recording(machine: Machine, tmp_path: Path) -> Machine:
    """A machine that records speech without an end, in files of ten seconds."""
    wav = write_wav(tmp_path / "speech.wav", RATE, 1, speech(RATE, 1, 20 * RATE))
    machine.environment["TZ"] = "UTC"
    machine.configure(
        audio={"input": f"file:{wav}?loop"},
        recording={"segment_seconds": 10},
        heartbeat={"enabled": False},
    )
    return machine


def total(days: list[Json]) -> float:
    """Return what the days know of: recorded and missing."""
    return float(sum(day["recorded_seconds"] + sum(day["missing_seconds"].values()) for day in days))


def in_files(machine: Machine) -> float:
    """Return what files and gap log know of."""
    rows, gaps = machine.queue(), machine.ok("gaps", "--json").json
    return float(sum(row["duration_ms"] for row in rows) / 1000 + sum(gap["seconds"] for gap in gaps))


def test_the_day_that_runs(recording: Machine) -> None:
    """Beside a service and without one, files, open file and gap log are in it; what was delivered too."""
    assert recording.ok("report", "--json").json == []
    assert recording.ok("report").out == "nothing has been recorded yet\n"
    with recording.daemon() as daemon:
        wait_for(lambda: (daemon.status()["recording"] or {"duration_ms": 0})["duration_ms"] > 1000)
        before = in_files(recording)
        days = recording.ok("report", "--json").json
        assert before <= total(days) <= in_files(recording) + 1
        state = StateDirectory(recording.state, recording.state)
        told: list[Json] = []
        ask(state.socket, {"command": "report", "days": 3}, lambda event: told.extend(event.get("rows", [])))
        assert told[-1]["recorded_ms"] / 1000 >= days[-1]["recorded_seconds"]
        ask(
            state.delivery_socket,
            {"command": "report"},
            lambda event: told.extend(event.get("rows", [])),
        )
        assert {"delivered", "waiting"} <= set(told[-1])
        assert daemon.stop() == 0
    recording.run("sync")
    days = recording.ok("report", "--json").json
    assert abs(total(days) - in_files(recording)) < 0.01
    assert days[-1]["delivered"] == len(recording.queue())
    assert days[-1]["waiting_at_end"] == 0
    shown = recording.ok("report").out
    assert "known up to" in shown


def test_a_kill_leaves_out_nothing(recording: Machine) -> None:
    """The file that a kill has left counts as far as it goes, before anybody has repaired it."""
    with recording.daemon() as daemon:
        wait_for(lambda: (daemon.status()["recording"] or {"duration_ms": 0})["duration_ms"] > 2500)
    days = recording.ok("report", "--json").json
    assert days[-1]["recorded_seconds"] > 1.4
    assert abs(total(days) - in_files(recording)) < 0.01


def test_html_is_one_file_for_who_asked(recording: Machine, tmp_path: Path) -> None:
    """Mode 0600, in the place of an earlier one; a folder that cannot be written is one sentence."""
    target = tmp_path / "out" / "report.html"
    for _ in range(2):
        assert recording.ok("report", "--html", target).out == f"{target}\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.read_text().startswith("<!doctype html>")
    (tmp_path / "file").write_text("")
    assert "file" in recording.run("report", "--html", tmp_path / "file" / "report.html").sentence(1)
    for count in ("0", "1101", "x"):
        assert recording.run("report", "--days", count).code == 2


def test_odd_files_of_days(recording: Machine) -> None:
    """Days that no calendar has, no text, folders and binary files in their place: what can be told is."""
    recording.state.mkdir(mode=0o700)
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    good = f'{{"date":"{yesterday}","recorded_ms":5000}}\n'.encode()
    (recording.state / "days.jsonl").write_bytes(
        b'{"date":"2026-13-45","recorded_ms":1}\n\xff\n[]\n{"date":"0000-00-00","recorded_ms":7}\n' + good
    )
    (recording.state / "days-delivery.jsonl").mkdir()
    (recording.state / "recorder.json").write_bytes(
        b'{"next_seq":2,"account":{"recorded":{"2026-02-31":5,"0000-00-00":7}}}'
    )
    (day,) = recording.ok("report", "--json").json
    assert (day["date"], day["recorded_seconds"], day["delivered"]) == (yesterday, 5.0, None)
