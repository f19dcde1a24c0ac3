"""What an answer means by its status: success, or the failure that it is (api.md sections 3 and 5)."""

from http import HTTPStatus
from typing import NoReturn

from agent import bounds
from agent.api import headers as said
from agent.api.answers import Answer, Call
from agent.api.errors import (
    Busy,
    Conflict,
    NotFound,
    Offline,
    OfflineKind,
    RateLimited,
    RequestRejected,
    StorageBusy,
    Unauthorized,
    UploadRefused,
)
from agent.api.responses import Fields, fields_of
from agent.api.server_words import words_of, xml_code
from agent.api.urls import host_of
from agent.hints import typed

_CREDENTIAL = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_INTERCEPTED = frozenset(
    {HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, HTTPStatus.NETWORK_AUTHENTICATION_REQUIRED}
)
_STORAGE_TRANSIENT = frozenset({"RequestTimeout", "IncompleteBody", "SlowDown", "InternalError"})
_STORAGE_STALE = frozenset({"ExpiredToken", "TokenRefreshRequired"})


def fields_of_body(answer: Answer) -> Fields | None:
    """Return the fields of an answer's JSON; None when it is cut short, or holds none."""
    return None if answer.truncated else fields_of(answer.body)


def succeeded(answer: Answer, call: Call) -> None:
    """Do nothing for a 2xx of the API.

    Raises:
        Offline, Unauthorized, RateLimited, Busy, NotFound, Conflict, RequestRejected: by api.md section 5.
    """
    status = answer.status
    if is_success(status):
        return
    body = fields_of_body(answer)
    if is_interception(status) or (status in _CREDENTIAL and not body):
        intercepted(answer, call)
    words = words_of(answer.body, body, secret=call.secret)
    if status in _CREDENTIAL:
        raise Unauthorized(
            f"The API refused the device token with {status}{words}",
            f"set a valid one with {typed('token set')}.",
            status=status,
        )
    if _is_busy(status):
        _busy(answer, call)
    kept = "; the file is kept" if call.is_of_a_recording else ""
    raise _rejection(status, call)(
        f"The API answered the {call.what} with {status}{words}{kept}.",
        status=status,
        code=words.code,
        words=words.text,
        step=call.what,
    )


def stored(answer: Answer, call: Call) -> None:
    """Do nothing when storage has taken the file: 2xx with an ``ETag`` (api.md section 3).

    Raises:
        Offline, UploadRefused, RateLimited, StorageBusy, RequestRejected: any other answer.
    """
    status = answer.status
    if is_success(status) and answer.headers.get("etag"):
        return
    redirected = _is_redirect(status) and _is_storages_own(answer)
    if (is_success(status) or is_interception(status)) and not redirected:
        intercepted(answer, call)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        _busy(answer, call)
    words = words_of(answer.body, fields_of_body(answer), secret=call.secret)
    if redirected or _is_busy(status) or words.code in _STORAGE_TRANSIENT:
        raise StorageBusy(
            f"Storage is busy or lost the upload with {status}{words}",
            "the file is sent again later.",
            status=status,
            retry_after=said.pause(answer.headers, call.wall),
        )
    if status in _CREDENTIAL or words.code in _STORAGE_STALE:
        raise UploadRefused(
            f"Storage refused the upload URL with {status}{words}", "a fresh one is needed.", status=status
        )
    raise RequestRejected(
        f"Storage rejected the upload with {status}{words}",
        "the file is kept.",
        status=status,
        code=words.code,
        words=words.text,
        step=call.what,
    )


def _is_storages_own(answer: Answer) -> bool:
    """Tell whether a redirect comes from storage itself: S3 says why in XML, a captive portal does not."""
    return xml_code(answer.body[: bounds.PAGE_CHARS].decode("utf-8", errors="replace")) is not None


def _is_redirect(status: int) -> bool:
    return HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST


def is_success(status: int) -> bool:
    """Tell a 2xx."""
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def is_interception(status: int) -> bool:
    """Tell whether no API answers so: redirects, a proxy's login, 511 of a captive portal (RFC 6585)."""
    return status < HTTPStatus.BAD_REQUEST or status in _INTERCEPTED


def _is_busy(status: int) -> bool:
    return status in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _rejection(status: int, call: Call) -> type[RequestRejected]:
    if status == HTTPStatus.NOT_FOUND:
        return NotFound
    return Conflict if status == HTTPStatus.CONFLICT and call.what == "complete" else RequestRejected


def _busy(answer: Answer, call: Call) -> NoReturn:
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise RateLimited(
            f"{call.host} asks for fewer calls (429)",
            "all calls pause.",
            status=answer.status,
            retry_after=said.pause(answer.headers, call.wall),
        )
    raise Busy(
        f"{call.host} cannot take the {call.what} now ({answer.status})",
        "it is tried again later.",
        status=answer.status,
        retry_after=said.retry_after(answer.headers, call.wall, _longest_wait(answer.status)),
    )


def _longest_wait(status: int) -> float:
    return bounds.VERIFYING_SECONDS if status == HTTPStatus.TOO_EARLY else bounds.PAUSE_SECONDS


def intercepted(answer: Answer, call: Call) -> NoReturn:
    """Say that somebody else has answered: a proxy, or a captive portal."""
    if answer.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        raise Offline(
            f"The proxy before {call.host} asks for a login",
            "check HTTPS_PROXY of the service.",
            kind=OfflineKind.PROXY,
        )
    if _is_redirect(answer.status):
        got = f"a redirect to {host_of(answer.headers.get('location', ''))}"
    elif answer.body.lstrip()[:1] == b"<":
        got = f"a web page with status {answer.status}"
    else:
        got = f"an unexpected answer with status {answer.status}"
    raise Offline(
        f"Something else answered for {call.host} ({got})",
        "sign in to the network's captive portal, or check the proxy and api.base_url.",
        kind=OfflineKind.PORTAL,
    )
