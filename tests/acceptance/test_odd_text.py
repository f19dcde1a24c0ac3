"""Names, marks and settings in any bytes, on any locale: replaced or escaped, never a traceback."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import json
import os
import socket
from pathlib import Path

import pytest
from acceptance import Machine, machine, server, wait_for
from click.testing import CliRunner
from speech import speech, write_wav

from agent.host import boot
from agent.terminal.output import echo, print_json

LATIN_1 = "Gru\udcdf"
"""Bytes of Latin-1 as Python hands over an argument that is no UTF-8."""
REPLACED = "Gru\N{REPLACEMENT CHARACTER}"


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """A second of speech."""
    return write_wav(tmp_path / "a.wav", 16000, 1, speech(16000, 1, 16000))


def test_a_recording_named_in_latin_1(machine: Machine, wav: Path) -> None:
    """The byte is replaced; the recording is made and delivered under the name."""
    (row,) = machine.run("record", "--input", wav, "--name", LATIN_1, "--json").rows
    assert machine.ok("sync", "--json").json["pending"] == 0
    shown = machine.ok("queue", "show", row["id"], "--json").json
    assert shown["status"] == "uploaded"


@pytest.mark.parametrize("locale", ["C", "de_DE.ISO-8859-1", ""])
def test_no_locale_makes_an_answer_fail(machine: Machine, wav: Path, locale: str) -> None:
    """Answers that hold any letter end with their own exit code, whatever the terminal can show."""
    machine.record(wav, "--name", "録音 naïve \x1b[31m")
    machine.environment |= {
        "LC_ALL": locale,
        "PYTHONUTF8": "0",
        "PYTHONIOENCODING": "" if locale else "latin-1",
    }
    for command in (["queue", "list"], ["status"], ["config", "show"], ["doctor"], ["gaps"]):
        run = machine.run(*command)
        assert "Error" not in run.err
        assert "Traceback" not in run.err
        assert run.code in {0, 1, 77}


def test_what_a_terminal_would_obey_is_written_out() -> None:
    """Escapes of others in an answer for people, and in JSON, reach no terminal; JSON says the same as before."""

    def printed(value: object, *, as_json: bool) -> str:
        import click

        @click.command()
        def show() -> None:
            (print_json if as_json else echo)(value)

        return CliRunner().invoke(show).output

    evil = "\x1b]0;owned\x07 \x9b2J \u202egpj \ufeff"
    assert printed(evil, as_json=False) == "\\x1b]0;owned\\x07 \\x9b2J \\u202egpj \\ufeff\n"
    as_json = printed({"id": evil}, as_json=True)
    assert json.loads(as_json) == {"id": evil}
    assert all(char.isprintable() or char == "\n" for char in as_json)
    assert printed("a\n\tb", as_json=False) == "a\n\tb\n"
    assert json.loads(printed({"path": ["a\udcf6"]}, as_json=True)) == {
        "path": ["a\N{REPLACEMENT CHARACTER}"]
    }


def test_a_host_name_of_any_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is no UTF-8 can be sent and shown."""
    monkeypatch.setattr(socket, "gethostname", lambda: os.fsdecode(b"K\xfcche.example.org"))
    assert boot.hostname() == "K\N{REPLACEMENT CHARACTER}che"


def test_an_argument_that_is_wrong_is_not_obeyed(machine: Machine) -> None:
    """What a person typed wrongly is repeated without what the terminal would obey."""
    for argument in ("--\x1b[2J", "sta\x1btus", LATIN_1):
        run = machine.run(argument)
        assert run.code == 2
        assert "\x1b" not in run.err
        assert "Traceback" not in run.err


def test_a_mark_of_any_bytes(machine: Machine, wav: Path) -> None:
    """A mark's text is kept with the byte replaced."""
    machine.configure(audio={"input": f"file:{wav}?loop"})
    with machine.daemon() as daemon:
        wait_for(lambda: daemon.status()["recording"])
        answer = machine.ok("mark", LATIN_1, "--json").json
        assert answer["id"]
        daemon.stop()
    (row,) = machine.queue()
    assert row["metadata"]["recorder_marks"].count(REPLACED) == 1
