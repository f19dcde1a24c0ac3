"""A line of the log is bounded and harmless, whatever is logged."""

import io
import json
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import log
from agent.log import entry

LONGEST_LINE = 6 * (entry.ENTRY_CHARS + entry.FIELDS * entry.KEY_CHARS)
"""Bytes: each character may take six, as UTF-8 or as an escape."""


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
