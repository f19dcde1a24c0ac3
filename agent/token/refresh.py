"""Exchanging the device token for a new one (api.md section 7): only on request, and never twice by itself.

The old token is dead as soon as the API has answered, so the new one is made durable first of all, and nobody uses
it before (procedure Refresh of ``credentials``). An answer that is lost loses the token: whether the old one still
lives is asked of the API at once, and said plainly.
"""

from http import HTTPStatus
from typing import Any

from agent.api.client import RecordingsApi
from agent.api.errors import Aborted, Busy, Offline, OfflineKind, Unauthorized
from agent.errors import AgentError, CredentialError, StillWaiting
from agent.hints import typed
from agent.log import get_logger
from agent.token.store import CREDENTIAL, Credentials, Token

log = get_logger(__name__)

_NEVER_SENT = frozenset({OfflineKind.DNS, OfflineKind.CONNECT, OfflineKind.TLS, OfflineKind.CLOCK})
_BIND = f"bind the device anew and give its token to {typed('token set --same-owner')}"


class NotRefreshed(AgentError):  # noqa: N818 - nothing has changed
    """The token was not refreshed, and the one before is still the device's."""


def refresh(credentials: Credentials, api: RecordingsApi, pause_left: float = 0.0) -> dict[str, Any]:
    """Refresh the token and return ``{fingerprint, device_id}``.

    Raises:
        StillWaiting: the API cannot be asked now; nothing has changed.
        NotRefreshed: it refused, or this device's id is not known; nothing has changed.
        CredentialError: there is no token, it was refused, or it was lost with the answer.
    """
    old, device_id = _present(credentials)
    if pause_left > 0:
        raise StillWaiting(f"the API asked for no calls for another {pause_left:.0f} s", "refresh after that")
    beneath = credentials.beneath()
    try:
        new = _ask(api, device_id)
    except (Offline, Aborted, Busy) as error:
        if _surely_nothing_done(error):
            raise
        raise _judged(api, error) from error
    installed = credentials.succeed(old, new, beneath)
    if not installed:
        raise NotRefreshed(
            "another device token was set while this one was being refreshed",
            "that one is in use, and the refreshed one was dropped",
        )
    log.info(
        "the device token was refreshed",
        action="token_refreshed",
        fingerprint=new.fingerprint,
        before=old.fingerprint,
    )
    return {"fingerprint": new.fingerprint, "device_id": device_id}


def _present(credentials: Credentials) -> tuple[Token, str]:
    if credentials.hidden() is not None:
        raise NotRefreshed(
            f"the device token is from systemd's {CREDENTIAL}, which only the service can read",
            "start the service and refresh again",
        )
    token = credentials.token()
    device_id = credentials.bindings.device_of(token.fingerprint)
    if device_id is None:
        raise NotRefreshed(
            f"the device id that belongs to the token {token.fingerprint} is not known yet",
            "it comes with the first recording that is delivered with it, so refresh after that",
        )
    return token, device_id


def _ask(api: RecordingsApi, device_id: str) -> Token:
    text = api.refresh(device_id)
    try:
        return Token(text)
    except CredentialError:
        raise CredentialError(
            "the API answered the refresh with something that is no device token, and may have ended the old one",
            f"see {typed('token status')}, and if it is refused, {_BIND}",
        ) from None


def _surely_nothing_done(error: AgentError) -> bool:
    if isinstance(error, Busy):
        return (
            error.status is not None
            and HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR
        )
    return isinstance(error, Offline) and error.kind in _NEVER_SENT


def _judged(api: RecordingsApi, lost: AgentError) -> AgentError:
    """Ask whether the old token lives on after an answer was lost; return what to say."""
    begin = f"the answer to the token refresh was lost ({lost})"
    try:
        answer = api.heartbeat({})
    except Unauthorized:
        return CredentialError(f"{begin} and the old token is refused now", _BIND)
    except AgentError:
        answer = {}
    if not answer:
        return CredentialError(
            f"{begin} and nobody knows whether the old token still lives",
            f"see {typed('token status')} when the API can be reached, and if it is refused, {_BIND}",
        )
    return NotRefreshed(f"{begin}, but the old token is still accepted", "refresh again")
