"""The queue before the thread that writes the log: whole lines in their order, none waited for, storms counted."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import json
import logging
import os
import time
from collections import Counter
from typing import Any

import pytest
from acceptance import wait_for
from log_pipe import Pipe, pipe

from agent import log
from agent.log import writer
from agent.log.writer import LINES_A_WINDOW, QUEUE_LINES, WARNINGS_A_WINDOW, WINDOW_SECONDS, Limit


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
    assert numbers[:QUEUE_LINES] == list(range(QUEUE_LINES))
    assert len(numbers) <= QUEUE_LINES + 1  # one more when the writing thread takes its first


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
    wait_for(lambda: not handler().queue.unfinished_tasks)
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
