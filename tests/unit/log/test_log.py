"""What a log line looks like, for people, for machines and for the journal, and what never gets into one."""

import io
import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import log
from agent.errors import MicrophoneError
from agent.log.writer import Stream

NOW = datetime(2026, 5, 9, 7, 8, 9, 123_999, tzinfo=UTC)
TOKEN = "dtok_aBc-123_x.y"


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


Start = Callable[..., Any]


@pytest.fixture
def start(stream: io.StringIO) -> Start:
    """Return a function that configures logging to ``stream`` and gives a logger."""

    def configured(level: str = "info", form: str = "text", **options: Any) -> Any:
        log.configure(level, form, stream, environ={}, now=lambda: NOW, **options)
        return log.get_logger("test")

    return configured


def test_a_text_line_is_for_reading(start: Start, stream: io.StringIO) -> None:
    """Time, level, action, the sentence, then the pairs; a value with blanks is quoted."""
    start().info(
        "the recording is finished", action="recording_finished", seq=7, name="a b", ok=True, next=None
    )
    assert stream.getvalue() == (
        "2026-05-09T07:08:09.123Z INFO     recording_finished  the recording is finished  "
        'seq=7 name="a b" ok=true next=null\n'
    )


def test_a_json_line_is_one_object(start: Start, stream: io.StringIO) -> None:
    """The same call; the four common keys come first; paths and exceptions become text."""
    start(form="json").warning(
        "card is full", action="storage_filled", path=Path("/x"), error=OSError(28, "No space")
    )
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert list(json.loads(line).items()) == [
        ("timestamp", "2026-05-09T07:08:09.123Z"),
        ("level", "warning"),
        ("action", "storage_filled"),
        ("event", "card is full"),
        ("path", "/x"),
        ("error", "OSError: [Errno 28] No space"),
    ]


def test_the_level_filters_and_can_be_changed_for_loggers_that_exist(
    start: Start, stream: io.StringIO
) -> None:
    """A reload that sets debug reaches everybody."""
    logger = start("warning")
    logger.info("one", action="a_b")
    start("debug")
    logger.debug("two", action="a_b")
    assert stream.getvalue() == "2026-05-09T07:08:09.123Z DEBUG    a_b  two\n"


def test_an_exception_is_one_line(start: Start, stream: io.StringIO) -> None:
    """Its class and text, no traceback, line breaks folded; our own errors are their sentence."""
    logger = start()
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logger.exception("it failed", action="thing_failed")
    logger.error("no microphone", action="microphone_lost", error=MicrophoneError("nothing is plugged in"))
    first, second = stream.getvalue().splitlines()
    assert first.endswith('thing_failed  it failed  error="ValueError: two lines"')
    assert second.endswith('microphone_lost  no microphone  error="nothing is plugged in"')


@pytest.mark.parametrize("form", ["text", "json"])
def test_debug_adds_the_traceback(start: Start, stream: io.StringIO, form: str) -> None:
    """Only there: who asked for debug wants it."""
    logger = start("debug", form)
    try:
        raise ValueError(TOKEN)
    except ValueError:
        logger.exception("it failed", action="thing_failed")
    assert "Traceback (most recent call last)" in stream.getvalue()
    assert TOKEN not in stream.getvalue()


def test_nobody_writes_lines_of_their_own(start: Start, stream: io.StringIO) -> None:
    """A device that calls itself a line break and an escape sequence stays one harmless line."""
    start().info("found\nERROR x", action="device_found", name="mic\n2026 ERROR\x1b[31m", other="\u2028")
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue()[:-1].isprintable()


SECRETS = [
    (f"header Authorization: Bearer {TOKEN}", "header Authorization: Bearer …"),
    (f"token={TOKEN}, next", "token=dtok_…, next"),
    ("PUT https://s3.x/b/k.opus?X-Amz-Signature=abc&x=1 failed", "PUT https://s3.x/b/k.opus?… failed"),
    (
        "PUT /b/k?X-Amz-Credential=AKIA%2Fx&X-Amz-Signature=abc",
        "PUT /b/k?X-Amz-Credential=…&X-Amz-Signature=…",
    ),
    ("grant eyJhbGciOi.eyJzdWIi.c2ln here", "grant jwt… here"),
    ("https://user:pass@host/x", "https://…@host/x"),
    ("bearer abc.def", "bearer …"),
]


@pytest.mark.parametrize(("text", "clean"), SECRETS)
def test_secrets_are_taken_out_of_any_text(text: str, clean: str) -> None:
    """Tokens, grants, signatures and the queries of URLs."""
    assert log.redact(text) == clean


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_taken_out_wherever_they_stand(start: Start, stream: io.StringIO, form: str) -> None:
    """In the sentence, in a value, nested, as an object, as an exception, under a telling key."""
    logger, sentence = start(form=form), f"x {TOKEN}"
    logger.info(
        sentence,
        action="a_b",
        a=[{"b": TOKEN}],
        path=Path("/x") / TOKEN,
        error=ValueError(TOKEN),
    )
    logger.info("y", action="a_b", grant_token="opaque-grant", inner={"Authorization": "opaque-header"})
    assert "opaque" not in stream.getvalue()
    assert "aBc" not in stream.getvalue()


@given(
    st.text(
        alphabet=st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"'<>,;&"), min_size=1
    ),
    st.text(),
)
def test_no_token_survives(tail: str, around: str) -> None:
    """Whatever stands around it."""
    assert f"dtok_{tail}" not in log.redact(f"{around} dtok_{tail} {around}").replace("dtok_…", "")


def test_libraries_are_heard_from_warning_on(start: Start, stream: io.StringIO) -> None:
    """Their URLs without queries, their exceptions on one line, their info not at all."""
    start("debug")
    logging.getLogger("httpx").info("HTTP Request: PUT https://s3/x?sig=1")
    logging.getLogger("httpx").warning("slow: %s", "https://s3/x?sig=1")
    try:
        raise ValueError("boom")
    except ValueError:
        start()
        logging.getLogger("apscheduler.x").exception("job failed")
    assert [line.partition(" ")[2] for line in stream.getvalue().splitlines()] == [
        "WARNING  library_warned  slow: https://s3/x?…  library=httpx",
        'ERROR    library_failed  job failed  library=apscheduler.x error="ValueError: boom"',
    ]


def test_configuring_again_does_not_double_the_libraries(start: Start, stream: io.StringIO) -> None:
    """A reload leaves one bridge."""
    start()
    start()
    logging.getLogger("x").warning("once")
    assert stream.getvalue().count("once") == 1


def test_a_stream_that_is_gone_stops_nobody(tmp_path: Path) -> None:
    """Logging to a closed file loses the line and raises nothing."""
    file = (tmp_path / "log").open("w")
    log.configure("info", "text", file, environ={})
    file.close()
    log.get_logger("test").info("lost", action="a_b")


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("text", "<4>a_b  careful  n=1\n"),
        (
            "json",
            '<4>{"timestamp":"2026-05-09T07:08:09.123Z","level":"warning","action":"a_b","event":"careful","n":1}\n',
        ),
    ],
)
def test_the_journal_gets_priorities(tmp_path: Path, form: str, line: str) -> None:
    """When $JOURNAL_STREAM names our stream: sd-daemon(3) prefixes, and no second time stamp in the text."""
    with (tmp_path / "journal").open("w+") as file:
        status = os.fstat(file.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        log.configure("info", form, file, environ=environ, now=lambda: NOW)
        log.get_logger("test").warning("careful", action="a_b", n=1)
        file.seek(0)
        assert file.read() == line


def test_another_journal_stream_is_not_ours(tmp_path: Path) -> None:
    """A shell inside a service inherits the variable, but its standard error goes elsewhere."""
    with (tmp_path / "other").open("w") as file:
        assert not Stream(file).is_journal({"JOURNAL_STREAM": "1:2"})
        assert not Stream(file).is_journal({})
    assert not Stream(io.StringIO()).is_journal({"JOURNAL_STREAM": "1:2"})


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.none() | st.text() | st.floats() | st.binary() | st.integers() | st.lists(st.text()),
        max_size=3,
    ),
    st.sampled_from(["text", "json"]),
)
def test_any_values_make_one_line(values: dict[str, Any], form: str) -> None:
    """Nothing that is logged can break the log."""
    stream = io.StringIO()
    log.configure("info", form, stream, environ={}, now=lambda: NOW)
    log.get_logger("test").info("x", action="a_b", odd="\udc80", **values)
    assert stream.getvalue().count("\n") == 1
    if form == "json":
        assert json.loads(stream.getvalue())["action"] == "a_b"
