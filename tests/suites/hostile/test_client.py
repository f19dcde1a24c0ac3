"""The client against every absurd answer: a bounded value, or one failure of that call, soon, and nothing else."""

import io
import itertools
import re
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from api_bench import SHORT, TOKEN, call, client_of
from grammar import CALLS, Answer, Cell, answer_of, cells
from socket_api import Reply, SocketApi

from agent import bounds
from agent.api.client import RecordingsApi
from agent.api.errors import ApiFailure
from agent.api.server_words import clean, words_of
from agent.errors import AgentError

SOON = 1.0
"""Seconds of this process's own time that no answer may take, however long its patterns are searched."""


@pytest.fixture(scope="module")
def server() -> Iterator[SocketApi]:
    with SocketApi().running() as running:
        yield running


@pytest.fixture(scope="module")
def api(server: SocketApi) -> Iterator[RecordingsApi]:
    with client_of(server, timeouts=SHORT) as client:
        yield client


def reply_of(answer: Answer) -> Reply:
    """Return an answer as the scripted server gives it."""
    known: dict[str, dict[str, Any]] = {
        "dribble": {"dribble": 0.05},
        "stall": {"stall": "middle"},
        "silent": {"stall": "answer"},
        "deaf": {"stall": "body"},
    }
    faults = known.get(answer.speed, {"raw": answer.raw, "close": answer.raw is not None})
    return Reply(answer.status, answer.body, tuple(answer.headers), **faults)


def complaints(found: object, *, shown: bool = False) -> Iterator[str]:
    """Yield what of a result is beyond its limits; ``shown``: a person will see it."""
    if isinstance(found, msgspec.Struct):
        yield from complaints(msgspec.structs.asdict(found), shown=True)
    elif isinstance(found, dict):
        yield from complaints(list(found.values()), shown=shown)
    elif isinstance(found, list | tuple):
        for each in found:
            yield from complaints(each, shown=shown)
    elif isinstance(found, str) and len(found) > bounds.COMMAND_BYTES:
        yield f"a text of {len(found)} characters"
    elif isinstance(found, str) and shown and not found.isprintable():
        yield "a text that cannot be shown"


def verdict(api: RecordingsApi, server: SocketApi, cell: Cell) -> list[str]:
    """Return what is wrong with how the client takes an answer; nothing when all is right."""
    server.seen.clear()
    while not server.replies.empty():
        server.replies.get()
    server.script(reply_of(answer_of(cell)))
    wrong: list[str] = []
    began = time.process_time()
    try:
        wrong += complaints(call(api, cell.call, server, io.BytesIO(b"abc")))
    except ApiFailure as failure:
        text = str(failure)
        if len(text) > 1000 or not text.isprintable() or TOKEN in text:
            wrong.append(f"it says {text[:200]!r} ({len(text)} characters)")
        after = getattr(failure, "retry_after", None) or 0.0
        if not 0 <= after <= bounds.PAUSE_SECONDS:
            wrong.append(f"it waits for {after} s")
    except AgentError as error:
        wrong.append(f"a failure of another family: {error!r}")
    except Exception as error:  # noqa: BLE001 - any other is what is looked for
        wrong.append(f"it raises {type(error).__name__}")
    if time.process_time() - began > SOON:
        wrong.append(f"it takes {time.process_time() - began:.1f} s")
    return [f"{cell}: {each}" for each in wrong]


@pytest.mark.parametrize("what", CALLS)
def test_no_answer_gets_past_the_door(api: RecordingsApi, server: SocketApi, what: str) -> None:
    """Every cell, one after another on one client; and a good answer is taken after each hundred."""
    of_call = [cell for cell in cells() if cell.call == what and cell.place != "speed"]
    assert len(of_call) > 300
    wrong: list[str] = []
    for number, cell in enumerate(of_call):
        wrong += verdict(api, server, cell)
        if number % 100 == 0:
            server.script(Reply(200, b'{"id": "rec_1"}'))
            call(api, "create", server)
    assert wrong == []


@pytest.mark.parametrize("cell", [cell for cell in cells() if cell.place == "speed"], ids=str)
def test_a_slow_answer_ends(api: RecordingsApi, server: SocketApi, cell: Cell) -> None:
    """By the deadline of the answer, as a failure of this call."""
    began = time.monotonic()
    assert verdict(api, server, cell) == []
    assert time.monotonic() - began < 10


def hostile_texts() -> Iterator[str]:
    """Yield texts that make a careless pattern slow."""
    for piece, size in itertools.product(
        (
            "x-amz-",
            "eyJ",
            "bearer ",
            "token ",
            "?a",
            "//a",
            "<title",
            "<script",
            "<!--",
            "<",
            "dtok_",
            "= ",
            "\u200b",
        ),
        (2_000, 1_000_000),
    ):
        yield (piece * (size // len(piece) + 1))[:size]


def test_patterns_see_short_texts_only() -> None:
    """A megabyte of what a pattern hesitates at costs no more than two thousand characters of it."""
    for text in hostile_texts():
        began = time.process_time()
        clean(text)
        words_of(text.encode(), None)
        words_of(b"<Error><Code>" + text.encode(), None)
        assert time.process_time() - began < 0.5, text[:20]


def test_each_pattern_is_bounded_in_its_source() -> None:
    """A control of the one above: the patterns themselves take seconds for what is not cut before."""
    careless = re.compile(r"\bx-amz-[\w-]+[\"']?\s*[=:]")
    began = time.process_time()
    careless.search("x-amz-" * 2_000)
    assert time.process_time() - began > 0.02
