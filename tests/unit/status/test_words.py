"""The sentence of the status, and the words that status, doctor and page share."""

import os
import time
from collections.abc import Iterator

import pytest

from agent.status.board import Delivery, Snapshot, State, Waiting
from agent.status.status_document import WaitingStatus
from agent.status.words import sentence, why

COUNTS = {"pending": 3, "parked": 0, "held": 0}
TWO_IN_BERLIN_MS = 1_795_741_200_000
"""02:00 there on 27 November 2026."""


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose own time is not UTC."""
    before = os.environ.get("TZ")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.setenv("TZ", before) if before else monkeypatch.delenv("TZ")
    time.tzset()


def test_why_something_waits() -> None:
    """The reason, and until when in the machine's own time where that is known."""
    assert why(WaitingStatus("off-peak", "2026-11-27T01:00:00.000Z")) == "off-peak, until 02:00"
    assert why(WaitingStatus("offline")) == "offline"


@pytest.mark.parametrize(
    ("waiting", "shown"),
    [
        (None, "idle, 3 waiting"),
        (Waiting("offline"), "idle, 3 waiting (offline)"),
        (Waiting("off-peak", TWO_IN_BERLIN_MS), "idle, 3 waiting (off-peak, until 02:00)"),
    ],
)
def test_the_sentence_tells_what_waits_and_why(waiting: Waiting | None, shown: str) -> None:
    """In the same words as status, doctor and page."""
    now = Snapshot(state=State.IDLE, delivery=Delivery.RUNNING, waiting=waiting)
    assert sentence(now, COUNTS).startswith(shown)
