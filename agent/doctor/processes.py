"""Checks of the recorder that runs: whether it answers, and what it is doing."""

from agent.doctor.examination import Finding, critical, healthy, skipped, warning
from agent.errors import sentence_of
from agent.facade.context import Session
from agent.facade.service import recorder_status
from agent.hints import journal, restart, start, typed
from agent.status.board import Delivery, State

NOBODY = "no recorder is running now"
DELIVERY_UNIT = "recorder-agent-delivery"


def answers(session: Session) -> Finding:
    """Look whether the recorder answers, where one runs."""
    return (
        skipped(NOBODY) if recorder_status(session) is None else healthy("a recorder is running, and answers")
    )


def recorder(session: Session) -> Finding:
    """Look at what the recorder is doing."""
    now = recorder_status(session)
    if now is None:
        return skipped(NOBODY)
    state = now.state
    if state is State.MUTED:
        return warning("the recorder is muted, so nothing is recorded", typed("unmute"))
    if state in {State.FAULT, State.STORAGE_FULL}:
        fault = sentence_of(now.fault or "the recorder cannot record", now.fault_hint)
        return critical(fault.message, fault.hint or f"see {journal()}")
    return healthy(f"its state is: {state.value.replace('_', ' ')}")


def delivery(session: Session) -> Finding:
    """Look at what the deliverer is doing."""
    now = recorder_status(session)
    if now is None:
        return skipped(NOBODY)
    word = now.delivery
    if word is Delivery.RUNNING:
        return healthy("the deliverer is running")
    log = f"see {journal(DELIVERY_UNIT)}"
    if word is Delivery.FAILING:
        reason = now.waiting.reason if now.waiting else "its disk or its index fails"
        return critical(f"nothing is delivered: {reason}", log)
    if word is Delivery.HUNG:
        return critical("the deliverer does not answer, so nothing is delivered", f"{restart()}; {log}")
    return critical("no deliverer is running, so nothing is delivered", start())
