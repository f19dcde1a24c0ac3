"""The board: what is reported together stands together."""

import pytest

from agent.errors import AgentError, sentence_of
from agent.status.board import Board, State


@pytest.mark.parametrize(
    "fault", [None, "the microphone Desk went away, so nothing is heard; check its plug"]
)
def test_a_fault_never_stands_with_the_hint_of_another(fault: str | None) -> None:
    """A full card, and then another fault or none: nobody is told to delete recordings for a microphone."""
    board = Board(lambda: 0.0)
    full = AgentError("the disk is full", "delete recordings")
    board.report(state=State.STORAGE_FULL, fault=str(full), fault_hint=full.hint)
    now = board.snapshot
    assert str(sentence_of(now.fault or "", now.fault_hint)) == str(full)
    assert now.fault_hint == full.hint
    board.changed.clear()
    board.report(fault=fault)
    assert (board.snapshot.fault, board.snapshot.fault_hint) == (fault, "")
    assert board.changed.is_set()
