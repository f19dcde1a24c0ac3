"""Both processes as one, for the command line: who runs is asked, and for who does not run the files speak."""

import time
from typing import Any

from agent.deliverer.wiring import DelivererWiring
from agent.errors import AgentError
from agent.facade.context import Session
from agent.facade.credentials import credentials_of
from agent.index.reading import reading
from agent.outbox.answers import merged, status_of
from agent.process.state_directory import Process
from agent.recording.calendar.schedule import next_windows
from agent.status.board import CredentialState, Delivery, Snapshot, State
from agent.token.store import credential_of

Json = dict[str, Any]


def status(session: Session) -> Json:
    """Return the document of ``status --json``: both answers merged, or what can be seen without a process.

    Raises:
        Hangs: the recorder runs and does not answer.
        AgentError: one may not ask, or not look.
    """
    if (now := recorder_status(session)) is not None:
        return now
    deliverer, delivery = _ask_deliverer(session)
    return merged(None, deliverer) if deliverer is not None else _seen(session, delivery)


def recorder_status(session: Session) -> Json | None:
    """Return the merged status while a recorder runs; None where none does."""
    recorder = session.ask_status(Process.RECORDER)
    if recorder is None:
        return None
    deliverer, delivery = _ask_deliverer(session)
    return merged(recorder, deliverer) if deliverer is not None else recorder | {"delivery": delivery.value}


def _ask_deliverer(session: Session) -> tuple[Json | None, Delivery]:
    """Return the deliverer's answer; one that gives none, for whatever reason, is said and hides nobody else's."""
    try:
        answer = session.ask_status(Process.DELIVERER)
    except AgentError:
        return None, Delivery.HUNG
    return answer, Delivery.STOPPED


def deliverer_here(session: Session) -> DelivererWiring:
    """Return what delivers, for a command that holds the deliverer's lock."""
    return DelivererWiring(session.loaded.config, session.state)


def _seen(session: Session, delivery: Delivery) -> Json:
    """Return the status as far as files tell it."""
    state, config = session.look(), session.loaded.config
    snapshot = Snapshot(state=State.STOPPED, delivery=delivery)
    with reading(state) as recordings:
        answer = status_of(
            snapshot,
            None,
            config,
            state.path,
            recordings.queue(),
            None,
            next_windows(config.recording, config.location, time.time()),
        )
    known, fingerprint = credential_of(CredentialState.UNKNOWN, credentials_of(session))
    return answer | {"credential": {"state": known, "fingerprint": fingerprint}}
