"""``status --watch``: a live screen on a terminal, a line a change in a pipe, through a daemon's end and return."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from acceptance import Machine, machine, server, stored, wait_for
from speech import speech, write_wav

from agent.sandbox.server import SandboxServer
from agent.terminal.screen import fit

RATE = 16_000
COLUMNS, LINES = 60, 24
ESCAPE = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])")


class Terminal:
    """What a terminal shows of the bytes it was sent; a line that does not fit fails."""

    def __init__(self, columns: int, lines: int) -> None:
        self.rows = [""] * lines
        self.columns = columns
        self.cursor_shown = True
        self.cleared = 0
        """How often all of it was cleared: more than once for a size is a flicker."""
        self._row = self._column = 0

    def feed(self, text: str) -> None:
        """Take what a program wrote: whole escape sequences only."""
        at = 0
        while at < len(text):
            escape = ESCAPE.match(text, at)
            if escape:
                self._obey(escape[1], escape[2])
                at = escape.end()
                continue
            letter = text[at]
            at += 1
            if letter == "\r":
                self._column = 0
            elif letter == "\n":
                self._row += 1
                assert self._row < len(self.rows), "it scrolls"
            else:
                assert letter.isprintable(), repr(letter)
                row = self.rows[self._row].ljust(self._column)
                self.rows[self._row] = row[: self._column] + letter + row[self._column + 1 :]
                self._column += 1
                assert self._column <= self.columns, "it wraps"

    def _obey(self, arguments: str, command: str) -> None:
        if command == "H":
            self._row = self._column = 0
        elif command == "K":
            self.rows[self._row] = self.rows[self._row][: self._column]
        elif command == "J" and arguments == "2":
            self.rows = [""] * len(self.rows)
            self.cleared += 1
        elif command == "J":
            self.rows[self._row] = self.rows[self._row][: self._column]
            self.rows[self._row + 1 :] = [""] * (len(self.rows) - self._row - 1)
        else:
            assert arguments == "?25", (arguments, command)
            self.cursor_shown = command == "h"

    def line(self, name: str) -> str:
        """Return what stands behind a name; empty when the line is not there."""
        found = [row for row in self.rows if row.startswith(name)]
        assert len(found) <= 1, self.rows
        return found[0][len(name) :].strip() if found else ""


class Watching:
    """A watch on a terminal."""

    def __init__(self, process: subprocess.Popen[str], terminal: Terminal, descriptor: int) -> None:
        self.process = process
        self.terminal = terminal
        self.frames = 0
        self._descriptor = descriptor
        self._rest = ""

    def look(self, seconds: float = 0.1) -> Terminal:
        """Take in what has been written; return the terminal."""
        while select.select([self._descriptor], [], [], seconds)[0]:
            try:
                data = os.read(self._descriptor, 65536)
            except OSError:  # the other side is closed
                break
            text = self._rest + data.decode()
            whole = text.rfind("\x1b") if "\x1b" in text[-8:] and not ESCAPE.search(text[-8:]) else len(text)
            self._rest = text[whole:]
            self.frames += text[:whole].count("\x1b[H")
            self.terminal.feed(text[:whole])
            seconds = 0
        return self.terminal

    def sees(self, name: str, pattern: str) -> bool:
        """Whether a line matches by now."""
        return re.search(pattern, self.look().line(name)) is not None

    def resize(self, columns: int, lines: int) -> None:
        """Give the window another size."""
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.terminal.columns = columns


@contextmanager
def watching(machine: Machine, *command: str) -> Iterator[Watching]:
    """Run a command that goes on, ``status --watch`` if none is given, on a terminal of 60 × 24."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    arguments = command or ("status", "--watch")
    with machine.popen(*arguments, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE) as process:
        os.close(theirs)
        try:
            yield Watching(process, Terminal(COLUMNS, LINES), ours)
        finally:
            process.kill()
            os.close(ours)


@pytest.fixture
def recording(machine: Machine, tmp_path: Path) -> Machine:
    """A machine that records speech without an end."""
    loop = write_wav(tmp_path / "loop.wav", RATE, 1, speech(RATE, 1, 20 * RATE))
    machine.configure(audio={"input": f"file:{loop}?loop"})
    return machine


def test_the_screen_follows_a_daemon_through_its_end_and_return(recording: Machine) -> None:
    """State and level move without a flicker; without a daemon it says stopped; a new daemon shows by itself."""
    with watching(recording) as watch:
        wait_for(lambda: watch.sees("state", "^stopped$"))
        with recording.daemon() as daemon:
            wait_for(lambda: watch.sees("state", "^recording$"))
            wait_for(lambda: watch.sees("level", "dBFS"))
            first = watch.terminal.line("level")
            wait_for(lambda: watch.look().line("level") not in {first, ""})
            assert not watch.terminal.cursor_shown
            daemon.stop()
        wait_for(lambda: watch.sees("state", "^stopped$"))
        assert watch.terminal.line("recording") == watch.terminal.line("level") == ""
        with recording.daemon():
            wait_for(lambda: watch.sees("state", "^recording$"))
            before = watch.frames
            wait_for(lambda: watch.look() is not None and watch.frames > before + 2)
            assert watch.terminal.cleared == 1
            watch.resize(40, LINES)
            wait_for(lambda: watch.look().cleared == 2)
            watch.process.send_signal(signal.SIGINT)
            assert watch.process.wait(10) == 0
        watch.look()
        assert watch.process.stderr is not None
        assert (watch.terminal.cursor_shown, watch.process.stderr.read()) == (True, "")


def test_a_daemon_that_hangs_is_told(recording: Machine) -> None:
    """A daemon that is frozen does not freeze the screen; when it is thawed it shows by itself."""
    with recording.daemon() as daemon, watching(recording) as watch:
        wait_for(lambda: watch.sees("state", "^recording$"))
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            wait_for(lambda: watch.sees("state", "does not answer"))
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        wait_for(lambda: watch.sees("state", "^recording$"))
        watch.process.send_signal(signal.SIGINT)
        assert watch.process.wait(10) == 0


def test_sigterm_brings_the_cursor_back(recording: Machine) -> None:
    """Also a watch that is ended from elsewhere leaves a terminal that can be used."""
    with watching(recording) as watch:
        wait_for(lambda: not watch.look().cursor_shown)
        watch.process.send_signal(signal.SIGTERM)
        assert watch.process.wait(10) == 0
        assert watch.look().cursor_shown


def test_nothing_that_is_drawn_moves_the_cursor() -> None:
    """A name with escape codes in it, and one that is too long."""
    assert fit("evil \x1b[2J\r\n name", 80) == "evil ?[2J?? name"
    assert fit("x" * 100, 7) == "x" * 7


def lines_of(process: subprocess.Popen[str]) -> list[str]:
    """Return a list that fills with the lines a process writes."""
    found: list[str] = []
    out = process.stdout
    assert out is not None
    threading.Thread(target=lambda: found.extend(iter(out.readline, "")), daemon=True).start()
    return found


def test_a_pipe_gets_a_line_at_each_change(recording: Machine) -> None:
    """No escape codes: the time and what has changed, and nothing while nothing changes."""
    with recording.popen("status", "--watch", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        found = lines_of(process)
        wait_for(lambda: len(found) == 1)
        with recording.daemon() as daemon:
            wait_for(lambda: any("recording" in line for line in found))
            time.sleep(1.5)
            daemon.stop()
        wait_for(lambda: "stopped" in found[-1])
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    text = "".join(found)
    assert "\x1b" not in text
    assert all(re.match(r"\d\d:\d\d:\d\d \w", line) for line in found)
    assert len({line.split(" ", 1)[1] for line in found}) >= 2
    assert len(found) <= 8, found


def test_an_upload_is_followed(machine: Machine, server: SandboxServer, tmp_path: Path) -> None:
    """The share of the file that has been sent grows, in the pipe in steps of ten per cent."""
    machine.configure(recording={"mode": "manual"}, sync={"max_kbit_per_second": 128})
    wav = write_wav(tmp_path / "long.wav", RATE, 1, speech(RATE, 1, 12 * RATE))
    with (
        machine.daemon(),
        machine.popen("status", "--watch", stdout=subprocess.PIPE) as process,
        watching(machine) as watch,
    ):
        found = lines_of(process)
        wait_for(lambda: watch.sees("state", "idle"))
        (row,) = machine.record(wav)
        wait_for(lambda: watch.sees("uploading", r"[1-9]\d* %"))
        wait_for(lambda: bool(stored(server, row["id"])))
        wait_for(lambda: watch.terminal.line("uploading") == "" or watch.sees("uploading", "^$"))
        process.send_signal(signal.SIGINT)
        process.wait(10)
    shares = [int(match[1]) for line in found if (match := re.search(r"uploading (\d+) %", line))]
    assert len(set(shares)) >= 3, found
    assert shares == sorted(shares)
    assert {share % 10 for share in shares} == {0}


def test_json_is_a_line_each_time(recording: Machine) -> None:
    """With --json each line is the whole document."""
    with recording.popen("status", "--watch", "--json", stdout=subprocess.PIPE) as process:
        found = lines_of(process)
        wait_for(lambda: len(found) >= 3)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert {json.loads(line)["state"] for line in found} == {"stopped"}


def test_the_level_is_one_line_that_moves(recording: Machine) -> None:
    """``level`` on a terminal writes each figure over the one before, and leaves the last of them."""
    with watching(recording, "level", "--seconds", "1") as watch:
        wait_for(lambda: "dBFS" in watch.look().rows[0])
        first = watch.terminal.rows[0]
        wait_for(lambda: watch.look().rows[0] != first)
        wait_for(lambda: watch.process.poll() is not None)
        rows = watch.look().rows
        assert re.fullmatch(r"\[#* *\| *\] +-\d+\.\d dBFS  peak +-\d+\.\d.*", rows[0])
        assert rows[1:] == [""] * (LINES - 1)
