"""What an answer means: a typed result, or the failure that it is (api.md sections 1 to 5)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import NoReturn

from agent import bounds
from agent.api import headers as said
from agent.api.answers import (
    LIFETIME_SECONDS,
    Answer,
    Call,
    Completion,
    Created,
    Media,
    UploadUrl,
)
from agent.api.errors import (
    Busy,
    Conflict,
    InvalidResponse,
    NotFound,
    Offline,
    OfflineKind,
    RateLimited,
    RequestRejected,
    StillVerifying,
    StorageBusy,
    Unauthorized,
    UnusableAnswer,
    UploadRefused,
)
from agent.api.responses import Fields, fields_of
from agent.api.server_words import words_of, xml_code
from agent.api.urls import host_of
from agent.hints import typed

_HASH_CHARS = 80
"""64 hex digits, and the white space that a server may put around them."""
_HASH_DIGITS = 64
_HEX_DIGITS = frozenset("0123456789abcdef")
_MEDIA_ROWS = 16
_NOT_DONE = frozenset({"pending", "streaming"})
_CREDENTIAL = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_INTERCEPTED = frozenset(
    {HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, HTTPStatus.NETWORK_AUTHENTICATION_REQUIRED}
)
_STORAGE_TRANSIENT = frozenset({"RequestTimeout", "IncompleteBody", "SlowDown", "InternalError"})
_STORAGE_STALE = frozenset({"ExpiredToken", "TokenRefreshRequired"})
_REFUSED_HEADERS = frozenset(
    {"authorization", "connection", "content-length", "cookie", "expect", "host", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "proxy-authorization"}
)
_NAME_CHARS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def created(answer: Answer, call: Call) -> Created:
    """Judge the answer to a create: any 2xx with a JSON object that has an ``id``.

    Raises:
        ApiFailure: any other answer.
    """
    body = expected(answer, call)
    return Created(
        _required(body, "id", bounds.ID_CHARS, answer, call),
        body.text("device_id", bounds.ID_CHARS),
        body.text("end_user_id", bounds.ID_CHARS),
        body.text("status"),
    )


def upload_url(answer: Answer, call: Call, content_type: str) -> UploadUrl:
    """Judge the answer to a request for an upload URL: ``headers``, else ``content_type``, else ours.

    Raises:
        UnusableAnswer: the URL or a header cannot be sent.
        ApiFailure: any other answer.
    """
    body = expected(answer, call)
    url = _required(body, "upload_url", bounds.URL_CHARS, answer, call)
    given = body.headers("headers")
    headers = _put_headers(given, answer, call) if given else {}
    headers = headers or {"Content-Type": _content_type(body) or content_type}
    return UploadUrl(url, headers, _lifetime(body, answer), body.text("media_id", bounds.ID_CHARS))


def _content_type(body: Fields) -> str | None:
    given = body.text("content_type", bounds.UPLOAD_HEADER_CHARS)
    return given if given is not None and said.is_sendable(given) else None


def _lifetime(body: Fields, answer: Answer) -> float:
    """Return how long the URL lives from the answer on, by the server's own clock alone."""
    ends, now = body.moment("expires_at"), said.own_date(answer.headers)
    if ends is None or now is None or not 0 < ends - now <= bounds.URL_SECONDS:
        return LIFETIME_SECONDS
    return ends - now


def completion(answer: Answer, call: Call, remote_id: str, sha256: str) -> Completion:
    """Judge the answer to a complete by the table of api.md section 4.

    Both id and hash may be missing, not both: one of them must tie the answer to this recording, or it is no
    answer of the API. A status that is not yet ``uploaded`` counts as still verifying.

    Raises:
        InvalidResponse: another id or another hash.
        Conflict: 409, or the status ``integrity_failure``.
        StillVerifying: 425, or a status before ``uploaded``.
        ApiFailure: any other answer.
    """
    if answer.status == HTTPStatus.TOO_EARLY:
        after = said.retry_after(answer.headers, call.wall, bounds.VERIFYING_SECONDS)
        raise _still_verifying(call, after)
    body = expected(answer, call)
    answered_id, answered_hash = body.text("id", bounds.ID_CHARS), _hash(body)
    if answered_id is None and answered_hash is None:
        _required(body, "id", bounds.ID_CHARS, answer, call)
    if answered_id is not None and answered_id != remote_id:
        raise InvalidResponse(
            f"{call.host} confirmed another recording than the one asked for", "the file is kept."
        )
    if answered_hash is not None and answered_hash != sha256.lower():
        raise InvalidResponse(
            f"{call.host} confirmed other audio than was sent (its hash differs)", "the file is kept."
        )
    status, media = body.text("status"), _media(body)
    if answered_hash is not None and body.text("content_sha256_verified_at", bounds.TIME_CHARS):
        return Completion(verified=True, status=status, media=media)
    if status == "integrity_failure":
        raise Conflict(
            f"{call.host} says that the audio arrived damaged",
            "it will be uploaded again.",
            status=answer.status,
            code=status,
        )
    if status in _NOT_DONE:
        raise _still_verifying(call)
    return Completion(verified=False, status=status, media=media)


def _hash(body: Fields) -> str | None:
    """Return a SHA-256 as 64 lowercase hex digits; what is none counts as missing."""
    given = (body.text("content_sha256", _HASH_CHARS) or "").strip().lower()
    return given if len(given) == _HASH_DIGITS and _HEX_DIGITS.issuperset(given) else None


def _media(body: Fields) -> tuple[Media, ...]:
    return tuple(
        Media(
            row.text("id", bounds.ID_CHARS),
            row.text("status"),
            row.number("file_size_bytes", bounds.FILE_BYTES),
        )
        for row in body.items("media", _MEDIA_ROWS)
    )


def device_token(answer: Answer, call: Call) -> str:
    """Judge the answer to a token refresh: any 2xx with a ``device_token``.

    Raises:
        ApiFailure: any other answer.
    """
    return _required(expected(answer, call), "device_token", bounds.TOKEN_CHARS, answer, call)


def expected(answer: Answer, call: Call) -> Fields:
    """Return the fields of the JSON object of a 2xx answer.

    Raises:
        ApiFailure: the answer is anything else.
    """
    succeeded(answer, call)
    body = _fields(answer)
    if body is None:
        _intercepted(answer, call)
    return body


def _fields(answer: Answer) -> Fields | None:
    return None if answer.truncated else fields_of(answer.body)


def _required(body: Fields, name: str, longest: int, answer: Answer, call: Call) -> str:
    """Return a text that the call cannot do without; where it is missing, something else may have answered."""
    text = body.text(name, longest)
    if text is None:
        if name in body:
            _unusable(f"its {name} cannot be used", answer, call)
        _intercepted(answer, call)
    return text


def _unusable(why: str, answer: Answer, call: Call) -> NoReturn:
    raise UnusableAnswer(
        f"{call.host} answered the {call.what} with {answer.status}, but {why}",
        "it is tried again later.",
        status=answer.status,
    )


def succeeded(answer: Answer, call: Call) -> None:
    """Do nothing for a 2xx of the API.

    Raises:
        Offline, Unauthorized, RateLimited, Busy, NotFound, Conflict, RequestRejected: by api.md section 5.
    """
    status = answer.status
    if is_success(status):
        return
    body = _fields(answer)
    if is_interception(status) or (status in _CREDENTIAL and not body):
        _intercepted(answer, call)
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
        _intercepted(answer, call)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        _busy(answer, call)
    words = words_of(answer.body, _fields(answer), secret=call.secret)
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


def _intercepted(answer: Answer, call: Call) -> NoReturn:
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


def _still_verifying(call: Call, retry_after: float | None = None) -> StillVerifying:
    return StillVerifying(
        f"{call.host} is still verifying the upload", "it is asked again.", retry_after=retry_after
    )


def _put_headers(given: Mapping[str, object], answer: Answer, call: Call) -> dict[str, str]:
    """Return the headers for the PUT as text, without those that belong to the connection.

    null leaves a header out, and a list of one text is that text.
    """
    headers: dict[str, str] = {}
    for name, value in given.items():
        text = said.header_text(value)
        if value is None or value == []:
            continue
        if text is None or not name or not _NAME_CHARS.issuperset(name) or not said.is_sendable(text):
            _unusable("it asks for an upload header that cannot be sent", answer, call)
        if name.lower() not in _REFUSED_HEADERS:
            headers[name] = text
    return headers
