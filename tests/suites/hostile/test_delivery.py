"""Delivery against absurd answers, on a simulated clock: the others go on, and all arrives when all is well again."""

import json
import random
from pathlib import Path

import pytest
from grammar import CALLS, VALUES, Cell, cells
from server import hostile_server
from waiting_recordings import agent, fill, live

from agent.api.transport import http
from agent.bounds import is_word

WORDS = {name for name, text in VALUES.items() if text[0] == '"' and is_word(json.loads(text), 200)}
"""Values that may be an id."""
PER_CALL = 24
"""Cells of each call that are drawn; the seed is printed."""
BAD_SECONDS = 20.0
GOOD_SECONDS = 60.0
CALLS_PER_MINUTE = 40
"""What a server may hear of one device while nothing it answers can be used."""
HOUR_LONG = {"a day", "60000", "year 9999", "exponent", "400 digits", "60 kB", "year 40000"}
"""What a Retry-After may hold that buys an hour, by the owner's leave: one answer, one hour."""


def drawn() -> list[Cell]:
    """Return the cells that are tried."""
    seed = random.SystemRandom().getrandbits(32)
    print("seed", seed)
    rng = random.Random(seed)
    chosen: list[Cell] = []
    for call in set(CALLS) - {"heartbeat", "refresh"}:
        of_call = [cell for cell in cells() if cell.call == call and cell.place != "speed"]
        chosen += rng.sample([cell for cell in of_call if not _buys_time(cell)], PER_CALL)
    return chosen


def _buys_time(cell: Cell) -> bool:
    """Whether an answer may by its plain words hold back calls for an hour, or park: another id is no absurd one."""
    another = cell.place == "field:id" and cell.absurdity in WORDS
    hour = cell.place.endswith("Retry-After") and cell.absurdity in HOUR_LONG
    return another or hour or cell.place.startswith("error")


def test_whatever_one_call_is_answered_everything_is_delivered_soon_after(tmp_path: Path) -> None:
    """Each drawn cell for 20 s on all recordings alike, then good answers: within a minute all three are there."""
    wrong = []
    for number, cell in enumerate(drawn()):
        with hostile_server() as server, agent(tmp_path / str(number), server.url) as (parts, clock):
            fill(parts, 3)
            server.poison(cell)
            live(parts, clock, BAD_SECONDS)
            heard = len(server.calls)
            server.heal()
            live(parts, clock, GOOD_SECONDS)
            parked = parts.outbox.store.counts()["parked"]
            if len(server.delivered()) != 3 or parked:
                wrong.append(f"{cell}: {len(server.delivered())} of 3 delivered, {parked} parked")
            if heard > CALLS_PER_MINUTE:
                wrong.append(f"{cell}: {heard} calls in {BAD_SECONDS} s")
    assert wrong == []


@pytest.mark.parametrize("name", ["id", "upload_url"])
def test_one_poisoned_recording_stops_no_other(tmp_path: Path, name: str) -> None:
    """The first recording is answered absurdly, once and for long: the others are delivered meanwhile."""
    call = "create" if name == "id" else "upload_url"
    for absurdity in ("70 kB", "escape", "400 digits", "object", "name of a bad host", "host that is none"):
        if name == "id" and "host" in absurdity:
            continue
        folder = tmp_path / absurdity.replace(" ", "-")
        with hostile_server() as server, agent(folder, server.url) as (parts, clock):
            fill(parts, 3)
            server.poison(Cell(call, f"field:{name}", absurdity), times=1)
            live(parts, clock, 5)
            assert len(server.delivered()) >= 2, absurdity
            live(parts, clock, GOOD_SECONDS)
            assert len(server.delivered()) == 3, absurdity


def test_a_storage_host_that_is_not_there_stops_no_other(tmp_path: Path) -> None:
    """Its recording backs off, no attempt is used, and the API is called reachable all the time."""
    with hostile_server() as server, agent(tmp_path, server.url) as (parts, clock):
        fill(parts, 3)
        server.poison(Cell("upload_url", "field:upload_url", "host that is not there"), times=1)
        live(parts, clock, 0.05)
        assert len(server.delivered()) == 2
        assert parts.board.snapshot.online
        (waiting,) = [entry for entry in parts.outbox.store.all() if entry.completed_ms is None]
        assert waiting.attempts == 0
        assert "storage.invalid" in str(waiting.last_error)


def test_without_the_cap_of_an_answer_the_grammar_shows_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A control: a client whose ids have no limit keeps one of 70 kB, and the recording is not delivered."""
    monkeypatch.setattr("agent.bounds.ID_CHARS", 100_000)
    monkeypatch.setattr("agent.outbox.entry.ID_CHARS", 100_000)
    assert http.Timeouts().answer > 0
    with hostile_server() as server, agent(tmp_path, server.url) as (parts, clock):
        fill(parts, 1)
        server.poison(Cell("create", "field:id", "70 kB"), times=1)
        live(parts, clock, GOOD_SECONDS)
        assert server.delivered() == set()
