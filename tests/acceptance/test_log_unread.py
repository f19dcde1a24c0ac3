"""A log that nobody reads holds up nobody, a storm in it stays small, and what was left out is said."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import contextlib
import fcntl
import io
import json
import logging
import os
import pty
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from acceptance import Machine, end_deliverer, machine, server, wait_for
from hypothesis import given
from hypothesis import strategies as st
from speech import speech, write_wav

from agent import log
from agent.log import entry, writer
from agent.log.writer import LINES_A_WINDOW, QUEUE_LINES, WARNINGS_A_WINDOW, WINDOW_SECONDS, Limit

LONGEST_LINE = 6 * (entry.ENTRY_CHARS + entry.FIELDS * entry.KEY_CHARS)
"""Bytes: each character may take six, as UTF-8 or as an escape."""


class Pipe:
    """A pipe whose reader can stop; ``write_end`` is the stream of the log."""

    def __init__(self) -> None:
        self.read_end, descriptor = os.pipe()
        self.write_end = os.fdopen(descriptor, "w")

    def fill(self) -> None:
        """Leave no room in it."""
        os.set_blocking(self.write_end.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.write_end.fileno(), b"." * 4096)
        os.set_blocking(self.write_end.fileno(), True)

    def lines(self) -> list[str]:
        """Return what can be read by now, without the filling."""
        os.set_blocking(self.read_end, False)
        data = b""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.read_end, 1 << 16):
                data += chunk
        return data.lstrip(b".").decode().splitlines()

    def close(self) -> None:
        """Close both ends."""
        os.close(self.read_end)
        self.write_end.close()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    log.configure("info", "text", io.StringIO())  # the writing thread ends
    pipe.close()


def queued(pipe: Pipe, form: str = "json") -> log.Logger:
    log.configure("info", form, pipe.write_end, queued=True, environ={})
    return log.get_logger("agent.test")


def handler() -> writer.QueuedHandler:
    (found,) = [each for each in logging.getLogger().handlers if isinstance(each, writer.QueuedHandler)]
    return found


def read_until(pipe: Pipe, action: str) -> list[dict[str, Any]]:
    """Read to the line with this action, and return all of them."""
    read: list[dict[str, Any]] = []

    def is_there() -> bool:
        read.extend(map(json.loads, pipe.lines()))
        return bool(read) and read[-1]["action"] == action

    wait_for(is_there)
    return read


def test_lines_arrive_in_order_and_whole(pipe: Pipe) -> None:
    """Through the queue nothing is lost while somebody reads."""
    logger = queued(pipe)
    for number in range(50):
        logger.info("a line", action="a_b", number=number)
    log.flush()
    assert [json.loads(line)["number"] for line in pipe.lines()] == list(range(50))


def test_what_is_logged_is_taken_down_at_once(pipe: Pipe) -> None:
    """A value that changes later is written as it was."""
    logger, values = queued(pipe), [1]
    pipe.fill()
    logger.info("a line", action="a_b", values=values)
    values.append(2)
    wait_for(lambda: '"values":[1]' in "".join(pipe.lines()))


def test_a_reader_that_has_stopped_holds_up_no_call_and_is_told_later(pipe: Pipe) -> None:
    """So many lines wait, the others are dropped and counted; what waited arrives when somebody reads again."""
    logger = queued(pipe)
    logging.getLogger(log.ROOM).setLevel(logging.DEBUG)
    pipe.fill()
    count = QUEUE_LINES + 200
    started = time.monotonic()
    for number in range(count):
        logger.debug("a line", action="a_b", number=number)
    assert time.monotonic() - started < 5
    numbers: list[int] = []
    dropped = 0

    def is_all_told() -> bool:
        nonlocal dropped
        for line in map(json.loads, pipe.lines()):
            if line["action"] == "log_dropped":
                dropped += line["count"]
            else:
                numbers.append(line["number"])
        return len(numbers) + dropped == count

    wait_for(is_all_told)
    assert numbers == list(range(len(numbers)))
    assert QUEUE_LINES <= len(numbers) <= QUEUE_LINES + 1


def test_an_end_does_not_wait_long_for_a_reader(pipe: Pipe) -> None:
    """Half a second, and no more."""
    logger = queued(pipe)
    pipe.fill()
    logger.info("a line", action="a_b")
    started = time.monotonic()
    log.flush()
    assert time.monotonic() - started < 5


def test_another_level_does_not_begin_another_thread(pipe: Pipe) -> None:
    """A reload while nobody reads leaves the one that waits."""
    queued(pipe)
    first = handler()
    for level in ("debug", "error", "info"):
        log.configure(level, "text", pipe.write_end, environ={})
    assert handler() is first


def test_a_stream_that_somebody_has_made_non_blocking_loses_nothing(pipe: Pipe) -> None:
    """Who shares the terminal may do that: it is waited for."""
    logger = queued(pipe)
    pipe.fill()
    os.set_blocking(pipe.write_end.fileno(), False)
    logger.info("a line", action="a_b")
    time.sleep(0.1)
    wait_for(lambda: "a line" in "".join(pipe.lines()))


def test_a_storm_is_written_up_to_its_limit_and_counted() -> None:
    """Of one action so many a minute, of all together so many; in the next minute it is told, once."""
    now = 0.0
    limit = Limit(lambda: now)
    admitted = Counter(
        action for _ in range(1000) for action in "abcdefg" if limit.admits(action, logging.WARNING)
    )
    assert admitted.total() == LINES_A_WINDOW
    assert max(admitted.values()) <= WARNINGS_A_WINDOW
    assert not limit.take_left_out()
    now += WINDOW_SECONDS
    assert limit.take_left_out().total() == 7000 - LINES_A_WINDOW
    assert not limit.take_left_out()
    assert limit.admits("a", logging.WARNING)


def test_a_storm_is_said(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the whole of it: 1,000 warnings are 20 lines, and a line that says how many were left out."""
    now = 0.0
    monkeypatch.setattr(writer, "IDLE_SECONDS", 0.05)
    logger = queued(pipe)
    monkeypatch.setattr(handler(), "_limit", writer.Limit(lambda: now))
    for _ in range(1000):
        logger.warning("again", action="a_b")
    now = WINDOW_SECONDS
    read = read_until(pipe, "log_limited")
    assert [line["action"] for line in read] == ["a_b"] * WARNINGS_A_WINDOW + ["log_limited"]
    assert (read[-1]["count"], read[-1]["actions"]) == (980, {"a_b": 980})


def test_a_storm_is_said_at_the_end(pipe: Pipe) -> None:
    """A program that ends within the minute says what it has left out."""
    logger = queued(pipe)
    for _ in range(100):
        logger.warning("again", action="a_b")
    log.flush()
    read = [json.loads(line) for line in pipe.lines()]
    assert (read[-1]["action"], read[-1]["count"]) == ("log_limited", 80)
    log.flush()
    assert pipe.lines() == []


class OddError(Exception):
    """As opuslib's: even its text is an error."""

    def __str__(self) -> str:
        raise TypeError("no text")


HUGE = {
    "text": "x" * 10_000_000,
    "no_blank": "://?@" * 1_000_000,
    "numbers": list(range(1_000_000)),
    "digits": 10**6000,
    "deep": eval("[" * 80 + "]" * 80),  # noqa: S307 - a literal of this file
    "mapping": {str(number) * 100: "y" * 1000 for number in range(1000)},
    "bytes": bytes(1_000_000),
    "error": OddError(),
    "odd": "\udcff\u202e\x9b\x1b[2J\x00",
}


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("level", ["info", "debug"])
def test_a_line_is_bounded_whatever_is_logged(form: str, level: str) -> None:
    """Texts, containers, numbers, errors, and very many fields; none of them raises, and none takes long."""
    stream = io.StringIO()
    log.configure(level, form, stream, environ={})
    logger = log.get_logger("agent.test")
    started = time.monotonic()
    for name, value in HUGE.items():
        logger.info("a line", action="a_b", **{name: value})
    logger.info("s" * 10_000_000, action="a" * 10_000, **{f"k{n}" * 100: "v" * 100 for n in range(1000)})
    assert time.monotonic() - started < 5
    lines = stream.getvalue().splitlines()
    assert len(lines) == len(HUGE) + 1
    assert max(len(line.encode()) for line in lines) < LONGEST_LINE
    assert stream.getvalue().replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "unit",
    [
        "x-amz-",
        "a://",
        "eyJ-",
        "eyJ.",
        "dtok_",
        "bearer ",
        "://",
        "a",
        "bearer",
        "?",
        "@",
        "a://@",
        "x-amz-a=",
    ],
)
def test_redacting_is_linear(unit: str) -> None:
    """A hundred times the text takes about a hundred times as long, not ten thousand times."""
    log.redact(unit * 1000)
    started = time.process_time()
    log.redact(unit * (1_000_000 // len(unit)))
    assert time.process_time() - started < 5


@given(st.text(), st.sampled_from(["utf-8", "latin-1", "ascii"]), st.sampled_from(["text", "json"]))
def test_no_character_is_too_much_for_a_stream(text: str, encoding: str, form: str) -> None:
    """Latin-1, ASCII and halves of characters: one line each, and JSON is UTF-8 everywhere."""
    ours, theirs = os.pipe()
    with os.fdopen(theirs, "w", encoding=encoding) as stream, os.fdopen(ours, "rb") as reader:
        log.configure("info", form, stream, environ={})
        log.get_logger("agent.test").info(text, action="a_b", value=text + "\udc80")
        stream.close()
        data = reader.read()
    assert data.count(b"\n") == 1
    if form == "json":
        assert json.loads(data)["action"] == "a_b"
    else:
        assert b"a_b" in data


# the daemon


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
