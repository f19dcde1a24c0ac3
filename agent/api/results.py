"""What a call has brought: each answer of success as a typed result, or as one that cannot be used (api.md)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import NoReturn

from agent import bounds
from agent.api import headers as said
from agent.api.answers import LIFETIME_SECONDS, Answer, Call, Completion, Created, Media, UploadUrl
from agent.api.errors import Conflict, InvalidResponse, StillVerifying, UnusableAnswer
from agent.api.responses import Fields
from agent.api.verdicts import fields_of_body, intercepted, succeeded

_HASH_CHARS = 80
"""64 hex digits, and the white space that a server may put around them."""
_HASH_DIGITS = 64
_HEX_DIGITS = frozenset("0123456789abcdef")
_MEDIA_ROWS = 16
_NOT_DONE = frozenset({"pending", "streaming"})
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
    body = fields_of_body(answer)
    if body is None:
        intercepted(answer, call)
    return body


def _required(body: Fields, name: str, longest: int, answer: Answer, call: Call) -> str:
    """Return a text that the call cannot do without; where it is missing, something else may have answered."""
    text = body.text(name, longest)
    if text is None:
        if name in body:
            _unusable(f"its {name} cannot be used", answer, call)
        intercepted(answer, call)
    return text


def _unusable(why: str, answer: Answer, call: Call) -> NoReturn:
    raise UnusableAnswer(
        f"{call.host} answered the {call.what} with {answer.status}, but {why}",
        "it is tried again later.",
        status=answer.status,
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
