"""Setting a device token: tried at once, kept unless the API refuses it, and told to nobody."""

import contextlib
from typing import Any

from agent.api.client import RecordingsApi, Timeouts
from agent.api.errors import Unauthorized
from agent.clock import SystemClock
from agent.config.schema import ApiConfig
from agent.errors import AgentError, CredentialError
from agent.log import get_logger
from agent.token.store import Credentials, Token, in_use

log = get_logger(__name__)

ACCEPTED, UNSAID, UNTRIED = "accepted", "unsaid", "untried"
"""What came of the trial: the API takes it; what answered in the API's place did not say; nobody could be asked."""


def set_token(credentials: Credentials, new: Token, api: ApiConfig, *, same_owner: bool) -> dict[str, Any]:
    """Try a token, keep it, and return ``{fingerprint, verdict, reason, held}``; ``reason`` why it was not tried.

    ``held``: what was recorded under the one before waits until the API shows the same owner.

    Raises:
        CredentialError: the API refuses it, or it cannot be kept; the one before stays in use.
    """
    credentials.note_token()
    before = credentials.current()
    verdict, reason = _tried(credentials, new, api)
    if verdict == ACCEPTED:
        credentials.accepted = new.fingerprint
    credentials.store(new, same_owner=same_owner)
    log.info("the device token was set", action="token_set", fingerprint=new.fingerprint, verdict=verdict)
    bindings = credentials.bindings
    held = before is not None and not bindings.allows(before, None, bindings.of(new.fingerprint))
    return {"fingerprint": new.fingerprint, "verdict": verdict, "reason": reason, "held": held}


def _tried(credentials: Credentials, new: Token, config: ApiConfig) -> tuple[str, str | None]:
    """Send a heartbeat with no fields; return what came of it, and why it could not be tried."""
    try:
        api = RecordingsApi(
            config,
            lambda: new,
            SystemClock(),
            timeouts=Timeouts(connect=5, read=10, write=10, answer=15),
        )
        with contextlib.closing(api):
            answer = api.heartbeat({})
    except Unauthorized as error:
        raise CredentialError(
            error.message.replace("The API", "the API", 1), f"it is not kept, and {_what_stays(credentials)}"
        ) from None
    except AgentError as error:
        return UNTRIED, str(error).rstrip(".")
    return (ACCEPTED if answer else UNSAID), None


def _what_stays(credentials: Credentials) -> str:
    with contextlib.suppress(CredentialError):
        if fingerprint := in_use(credentials)[0]:
            return f"the one before ({fingerprint}) stays in use; set the right one"
    return "there is none in use; set the right one"
