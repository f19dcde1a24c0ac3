"""Every call × every answer, both contracts: what the agent does, and where each recording ends (api.md)."""

import random
import time
from pathlib import Path

import pytest
from matrix_agent import Cell, prepare
from matrix_expected import CALLS, CELLS, COURSES, DELIVERY, SEQUENCES, WORDS, rows
from matrix_judge import differences
from matrix_run import Judged, cells, judge, judge_all, table
from matrix_sabotage import SABOTAGES
from speech import speech, write_wav

RATE = 16000
STATUSES = """200 201 202 204 301 302 307 400 401 403 404 408 409 413 415 422 425 429 500 502 503 504 511"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine with three recordings, made by the command line."""
    folder = tmp_path_factory.mktemp("machine")
    write_wav(folder / "sound.wav", RATE, 1, speech(RATE, 1, RATE))
    return prepare(folder)


@pytest.fixture(scope="module")
def judged(template: Path, pytestconfig: pytest.Config) -> list[Judged]:
    """All cells; the table is printed, whatever the verdict."""
    began = time.monotonic()
    seed = int(pytestconfig.getoption("--hypothesis-seed") or random.getrandbits(32))
    seen = judge_all(list(cells(seed)), template)
    seconds = time.monotonic() - began
    wrong = [each for each in seen if each.differences]
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(table(seen))
        print(f"\n{len(seen)} cells, {len(wrong)} not as api.md says, seed {seed}, {seconds:.0f} s")
    return seen


@pytest.mark.parametrize("call", CALLS)
def test_each_answer_to_a_call(judged: list[Judged], call: str) -> None:
    """What the agent does with each answer to this call, and how it ends, is what the table of api.md says."""
    of_call = [each for each in judged if each.cell.call == call]
    assert len(of_call) >= len(rows())
    assert [str(each) for each in of_call if each.differences] == []


def test_no_cell_is_without_a_verdict() -> None:
    """Each status of api.md is a row; each word is quoted from a section and says how it ends."""
    table = rows()
    assert set(STATUSES.split()) <= {row.answer for row in table}
    assert all(row.words.keys() == set(CALLS) for row in table)
    said = {
        word
        for row in [*table, *rows(SEQUENCES)]
        for words in row.words.values()
        for word in words.split("/")
    }
    assert said == WORDS.keys()
    in_delivery = {word for row in table for call in DELIVERY for word in row.words[call].split("/")}
    assert in_delivery <= COURSES.keys()
    assert len(table) == len(CELLS.strip().splitlines()) - 1


def test_a_mutated_table_is_found(judged: list[Judged]) -> None:
    """With any word of the delivery exchanged for any other, the judge objects to what was seen."""
    unseen = [
        f"{each.cell}: {each.word} passes for {other}"
        for each in judged
        if each.cell.call in DELIVERY and len(set(each.cell.answers)) == 1
        for other in COURSES.keys() - {each.word}
        if not differences(each.outcome, other)
    ]
    assert unseen == []


@pytest.mark.parametrize(
    ("sabotage", "call", "answer", "contract", "word", "objection"),
    [
        ("any 2xx of storage is success", "put", "html", "newer", "offline", "after the fault"),
        ("a new key with each create", "create", "dropped-after", "older", "offline", "Idempotency-Key"),
        ("a key is used again after a refusal", "create", "422", "older", "park", "in the end it is parked"),
        ("the bearer goes to storage", "put", "200", "older", "ok", "the bearer went to storage"),
        (
            "every try begins with a create",
            "complete",
            "dropped-after",
            "newer",
            "offline",
            "2 copies of one audio",
        ),
        ("redirects are the API's word", "url", "302", "older", "offline", "parked, not offline"),
        ("a busy server is a refusal", "put", "503", "newer", "busy", "parked, not busy"),
    ],
)
def test_a_broken_agent_is_found(
    template: Path, sabotage: str, call: str, answer: str, contract: str, word: str, objection: str
) -> None:
    """An agent with one wrong judgement built in does not pass, and the objection says why."""
    sound = judge((Cell(call, (answer,), contract), word), template)
    broken = judge((Cell(call, (answer,), contract, sabotage), word), template)
    assert sound.differences == []
    assert objection in "; ".join(broken.differences)
    assert sabotage in SABOTAGES
