"""Checks of the recorder that runs: whether it answers, and what it is doing."""

import queue
import threading
from typing import Any

from agent.context import Session
from agent.doctor.examination import Finding, critical, healthy, skipped, warning
from agent.errors import AgentError
from agent.status.board import State
from agent.status.control import NoDaemon, ask

ANSWER_SECONDS = 5.0
"""A daemon that takes longer to say how it is hangs."""
NOBODY = "no recorder is running now"


class Hangs(AgentError):  # noqa: N818 - says what it does
    """A daemon listens and does not answer."""


def status(session: Session) -> dict[str, Any] | None:
    """Return what the daemon says of itself, as ``status --json`` does; None where none runs.

    Raises:
        Hangs: it does not answer.
        AgentError: one may not ask it.
    """
    answers: queue.SimpleQueue[dict[str, Any] | AgentError | OSError] = queue.SimpleQueue()

    def put_answer() -> None:
        try:
            answers.put(dict(ask(session.state.socket, {"command": "status"})))
        except (AgentError, OSError) as error:
            answers.put(error)

    threading.Thread(target=put_answer, name="ask", daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        raise Hangs(
            "a recorder runs and does not answer; `sudo systemctl restart recorder-agent`, and see its log"
        ) from None
    if isinstance(answer, NoDaemon):
        return None
    if isinstance(answer, AgentError | OSError):
        raise answer
    return answer


def daemon(session: Session) -> Finding:
    """Look whether the daemon answers, where one runs."""
    return skipped(NOBODY) if status(session) is None else healthy("a recorder is running, and answers")


def recorder(session: Session) -> Finding:
    """Look at what the daemon is doing."""
    now = status(session)
    if now is None:
        return skipped(NOBODY)
    state = State(now["state"])
    if state is State.MUTED:
        return warning("the recorder is muted, so nothing is recorded", "`recorder-agent unmute`")
    if state in {State.FAULT, State.STORAGE_FULL}:
        what, _, remedy = (now.get("fault") or "the recorder cannot record").partition("; ")
        return critical(what, remedy or "see `journalctl -u recorder-agent`")
    return healthy(f"its state is: {state.value.replace('_', ' ')}")
