"""The doctor as a command: what it prints for people and programs, its exit code, and that it changes nothing."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doctor_setup import BAD, Patient, patient, recording_parked, token_refused, with_parts

import agent
from agent.doctor.checks import checks
from agent.doctor.examination import Result
from agent.doctor.verdict import first, lines
from agent.gaps.log import Cause, Gap

__all__ = ["patient"]


def test_all_is_well(patient: Patient) -> None:
    """With everything in place every check is healthy, but for what is not there: light, daemon, TLS on loopback."""
    found = patient.examined()
    assert {row.check: row.state for row in found if row.state != "healthy"} == {
        "service access": "skipped",
        "light": "skipped",
        "metrics": "skipped",
        "daemon": "skipped",
        "recorder": "skipped",
        "delivery": "skipped",
        "TLS": "skipped",
    }


# from outside


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command line from outside, with hardly any environment; its state directory counts as one on a disk."""
    on_disk = folder / "on-disk"
    on_disk.mkdir(exist_ok=True)
    (on_disk / "sitecustomize.py").write_text(
        "import agent.host.medium\nagent.host.medium.in_memory = lambda *_: False\n"
    )
    paths = [str(on_disk), environ.get("PYTHONPATH", ""), str(Path(agent.__file__).parents[1])]
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    command = [sys.executable, "-c", "from agent.cli import main; main()", *arguments]
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def outside(patient: Patient, **environ: str) -> tuple[int, list[dict[str, str]]]:
    """Return the exit code of ``doctor --json``, and what it prints."""
    patient.session()
    done = run(patient.folder, "--config", str(patient.folder / "config.toml"), "doctor", "--json", **environ)
    rows: list[dict[str, str]] = json.loads(done.stdout)
    return done.returncode, rows


@pytest.mark.parametrize(
    ("module", "text", "check", "hint"),
    [
        ("opuslib", "raise Exception('Could not find Opus library.')", "libopus", "apt-get install libopus0"),
        (
            "pyaudio",
            "raise ImportError('libportaudio.so.2: cannot open shared object file')",
            "PortAudio",
            "apt-get install libportaudio2",
        ),
    ],
)
def test_a_missing_library_is_named(patient: Patient, module: str, text: str, check: str, hint: str) -> None:
    """Each library is missed by its own check, with the package to install; the exit code says so."""
    hidden = patient.folder / "hidden"
    hidden.mkdir()
    (hidden / f"{module}.py").write_text(text)
    code, rows = outside(patient, PYTHONPATH=str(hidden))
    first = next(row for row in rows if row["state"] in BAD)
    assert (code, first["check"], first["state"]) == (1, check, "critical"), first
    assert hint in first["hint"]


def test_json_is_a_list_of_four_keys_each(patient: Patient) -> None:
    """The contract: check, state, message, hint, and nothing else; warnings exit 0."""
    recording_parked(patient)
    code, rows = outside(patient)
    assert code == 0
    for row in rows:
        assert list(row) == ["check", "state", "message", "hint"]
        assert all(isinstance(value, str) for value in row.values())
        assert row["state"] in {"healthy", "warning", "critical", "unknown", "skipped"}
    assert [row["check"] for row in rows] == [check.name for check in checks()]


def test_a_person_reads_a_line_for_each(patient: Patient) -> None:
    """What to do first stands first; marks stand out, hints stand below, a summary last; critical exits 1."""
    token_refused(patient)
    patient.session()
    done = run(patient.folder, "--config", str(patient.folder / "config.toml"), "doctor")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    (index,) = [number for number, line in enumerate(lines) if line.startswith("CRITICAL")]
    assert lines[index].split(None, 1)[1].startswith("device token ")
    assert "→" in lines[index + 1]
    assert lines[0] == f"First: {lines[index].split('device token', 1)[1].strip()}"
    assert lines[1].split("→")[1] == lines[index + 1].split("→")[1]
    assert re.fullmatch(r"\d+ checks: \d+ ok, .*1 CRITICAL.*", lines[-1])


def test_what_is_critical_comes_before_what_was_found_earlier(patient: Patient) -> None:
    """A warning about the place is no reason to hide that there is no token; where all is well that is said."""
    patient.state.chmod(0o755)
    token_refused(patient)
    found = patient.examined()
    assert next(row for row in found if row.state in BAD).check == "state directory"
    cause = first(found)
    assert cause is not None
    assert cause.check == "device token"
    assert lines([Result("a", "healthy", "b", "")]) == [
        "All is well.",
        "",
        f"ok{'':<8}a{'':<16}b",
        "",
        "1 checks: 1 ok",
    ]


def test_nothing_is_left_behind(patient: Patient) -> None:
    """An examination changes nothing in the state directory."""
    with_parts(patient, lambda parts: parts.gap_log.add(Gap(Cause.CUT, parts.now(), None, 1)))
    before = {path: path.stat().st_mtime_ns for path in patient.state.rglob("*") if path.is_file()}
    patient.examined()
    after = {path: path.stat().st_mtime_ns for path in patient.state.rglob("*") if path.is_file()}
    assert after == before
