"""Both processes as one, for the command line: who runs is asked, and for who does not run the files speak."""

import time

from msgspec.structs import replace

from agent.deliverer.wiring import DelivererWiring
from agent.errors import AgentError
from agent.facade.context import Session
from agent.facade.credentials import credentials_of
from agent.index.reading import reading
from agent.process.state_directory import Process
from agent.recording.calendar.schedule import next_windows, windows_shown
from agent.status.board import CredentialState, Delivery, Snapshot, State
from agent.status.status_document import StatusDocument, merged
from agent.status.status_now import status_now
from agent.token.store import credential_of


def status(session: Session) -> StatusDocument:
    """Return the document of ``status --json``: both answers merged, or what can be seen without a process.

    Raises:
        Hangs: the recorder runs and does not answer.
        AgentError: one may not ask, or not look.
    """
    if (now := recorder_status(session)) is not None:
        return now
    deliverer, delivery = _ask_deliverer(session)
    return merged(None, deliverer) if deliverer is not None else _seen(session, delivery)


def recorder_status(session: Session) -> StatusDocument | None:
    """Return the merged status while a recorder runs; None where none does."""
    recorder = session.ask_status(Process.RECORDER)
    if recorder is None:
        return None
    deliverer, delivery = _ask_deliverer(session)
    if deliverer is None:
        return replace(recorder, delivery=delivery)
    return merged(recorder, deliverer)


def _ask_deliverer(session: Session) -> tuple[StatusDocument | None, Delivery]:
    """Return the deliverer's answer; one that gives none, for whatever reason, is said and hides nobody else's."""
    try:
        answer = session.ask_status(Process.DELIVERER)
    except AgentError:
        return None, Delivery.HUNG
    return answer, Delivery.STOPPED


def deliverer_here(session: Session) -> DelivererWiring:
    """Return what delivers, for a command that holds the deliverer's lock."""
    return DelivererWiring(session.loaded.config, session.state)


def _seen(session: Session, delivery: Delivery) -> StatusDocument:
    """Return the status as far as files tell it."""
    state, config = session.for_reading(), session.loaded.config
    snapshot = Snapshot(state=State.STOPPED, delivery=delivery)
    with reading(state) as recordings:
        queue = recordings.queue()
    return status_now(
        snapshot,
        queue,
        config,
        state.path,
        credential=credential_of(CredentialState.UNKNOWN, credentials_of(session)),
        windows=windows_shown(next_windows(config.recording, config.location, time.time())),
    )
