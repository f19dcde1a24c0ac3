"""The recorder, asked by the process that talks: its answer passes a door, and what goes wrong is said."""

from pathlib import Path
from typing import Any

import pytest
from logcapture import capture_logs

from agent.errors import AgentError
from agent.recording.asked.requests import ManualRequest
from agent.sync.remote import remote_recorder
from agent.sync.remote.remote_recorder import RemoteRecorder

SECONDS = 10


def asked(monkeypatch: pytest.MonkeyPatch, answer: object) -> RemoteRecorder:
    """Return a recorder that gives this answer to everything, or raises it."""

    def ask(*_: Any) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(remote_recorder, "ask", ask)
    return RemoteRecorder(lambda: Path("/nowhere"), lambda: False)


@pytest.mark.parametrize("answer", [None, {"rows": 1}, [{}], [{"id": 5}], [{"id": "x" * 1000}], ["a"]])
def test_an_answer_that_lists_no_recordings_is_an_error(
    monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    """Whatever the other process says, the request ends with a reason."""
    request = ManualRequest()
    asked(monkeypatch, answer).start(request)
    assert request.done.wait(SECONDS)
    assert isinstance(request.error, AgentError)
    assert request.finished_ids == []


def test_the_recordings_of_an_answer_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their ids are what the heartbeat's commands look for on the board."""
    request = ManualRequest()
    asked(monkeypatch, [{"id": "one", "seq": 1}, {"id": "two"}]).start(request)
    assert request.done.wait(SECONDS)
    assert (request.error, request.finished_ids) == (None, ["one", "two"])


def test_a_stop_that_reaches_nobody_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command was called obeyed when it was handed on."""
    with capture_logs() as logs:
        asked(monkeypatch, AgentError("recorder-agent is not running"))._stop()
    assert [line["action"] for line in logs] == ["command_stop_failed"]
