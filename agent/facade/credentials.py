"""The device token as the owner of the state directory sees it: for commands, without the network's libraries."""

import os

from agent.deliverer.takeover import take_over
from agent.disk import Disk
from agent.facade.context import Session
from agent.token.store import BINDING, Credentials


def credentials_of(session: Session) -> Credentials:
    """Return the device token as the owner of the state directory sees it."""
    state = session.state
    if state.path.exists() and os.access(state.path, os.W_OK):
        take_over(state.path, Disk())
    return Credentials(
        state.token,
        session.loaded.config.api.token_file,
        os.environ,
        binding_file=state.path / BINDING,
    )
