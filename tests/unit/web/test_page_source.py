"""How often the page asks, and what it takes of the environment that it was started in."""

import os
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AgentError
from agent.facade.context import Session
from agent.web.server import handed_over
from agent.web.source import STATUS_SECONDS, TIMEOUT_SECONDS, Source


def test_a_recorder_that_hangs_is_asked_once_for_all_who_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes until nobody has answered, that is known from then on for a while."""
    now = 0.0
    asked: list[Any] = []

    def hangs(_path: Path, request: Any, *_: Any, timeout: float) -> None:
        nonlocal now
        now += timeout
        asked.append(request)
        raise TimeoutError

    monkeypatch.setattr("agent.web.source.ask", hangs)
    source = Source(Session(tmp_path / "config.toml"), lambda: now)
    monkeypatch.setattr(Session, "socket", lambda *_: tmp_path / "socket")
    assert [source.status() for _ in range(32)] == [None] * 32
    assert len(asked) == 2
    assert now == 2 * TIMEOUT_SECONDS
    now += STATUS_SECONDS
    assert source.status() is None
    assert len(asked) == 4


@pytest.mark.parametrize("told", ["", "x", "-1", "0", "²", "9" * 5000, "17"])
def test_sockets_that_nobody_has_handed_over(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of them that is none, or more than there can be, is one sentence."""
    monkeypatch.setenv("LISTEN_FDS", told)
    assert handed_over() == []
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    with pytest.raises(AgentError, match="not there"):
        handed_over()
