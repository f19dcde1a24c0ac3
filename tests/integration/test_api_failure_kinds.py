"""Which answer is which failure: the tables of api.md sections 3, 4 and 5, typed from there."""

import io
from typing import Any

import pytest
from api_bench import SHA, call
from api_verdicts import ERROR, api, failure_of, server, standing_server
from socket_api import Reply, SocketApi, as_html, as_json

from agent.api.client import RecordingsApi
from agent.api.errors import (
    ApiFailure,
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
from agent.errors import AgentError

__all__ = ["api", "server", "standing_server"]

PORTAL = OfflineKind.PORTAL


# section 5: classes of answers


@pytest.mark.parametrize("what", ["create", "upload_url", "heartbeat", "complete"])
@pytest.mark.parametrize(
    ("reply", "kind", "exit_code"),
    [
        (as_json(ERROR, 401), Unauthorized, 77),
        (as_json({"message": "Forbidden"}, 403), Unauthorized, 77),
        (as_json({"error": "unauthorized"}, 401), Unauthorized, 77),
        (as_json(ERROR, 408), Busy, 75),
        (as_json(ERROR, 429), RateLimited, 75),
        (as_html(429), RateLimited, 75),
        (as_json(ERROR, 500), Busy, 75),
        (as_html(502), Busy, 75),
        (Reply(503), Busy, 75),
        (as_html(504), Busy, 75),
        (Reply(599), Busy, 75),
        (as_json(ERROR, 400), RequestRejected, 1),
        (as_json(ERROR, 404), NotFound, 1),
        (Reply(404), NotFound, 1),
        (as_html(405), RequestRejected, 1),
        (Reply(410), RequestRejected, 1),
        (as_json(ERROR, 413), RequestRejected, 1),
        (as_json({"error": {"type": "x", "message": "y"}}, 422), RequestRejected, 1),
        (as_json(ERROR, 451), RequestRejected, 1),
    ],
)
def test_every_class_of_answer(
    server: SocketApi, api: RecordingsApi, what: str, reply: Reply, kind: type[ApiFailure], exit_code: int
) -> None:
    """The status decides the class, whatever the body, for each call alike."""
    failure = failure_of(api, server, what, reply)
    assert type(failure) is kind
    assert isinstance(failure, AgentError)
    assert failure.exit_code == exit_code
    assert getattr(failure, "status") == reply.status  # noqa: B009 - not all kinds have one


@pytest.mark.parametrize("what", ["create", "upload_url", "heartbeat", "refresh"])
def test_425_outside_of_complete_is_busy(server: SocketApi, api: RecordingsApi, what: str) -> None:
    """Only a complete can be still verifying."""
    assert type(failure_of(api, server, what, as_json(ERROR, 425))) is Busy


@pytest.mark.parametrize("what", ["create", "upload_url", "heartbeat", "refresh"])
def test_409_outside_of_complete_is_a_rejection(server: SocketApi, api: RecordingsApi, what: str) -> None:
    """The same key with another body, say: no conflict of hashes."""
    assert type(failure_of(api, server, what, as_json(ERROR, 409))) is RequestRejected


@pytest.mark.parametrize("what", ["create", "upload_url", "heartbeat", "complete", "refresh"])
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (as_html(401), PORTAL),
        (as_html(403), PORTAL),
        (Reply(401), PORTAL),
        (as_json({}, 403), PORTAL),
        (as_json(["x"], 401), PORTAL),
        (Reply(302, b"", (("Location", "http://login.hotel.example/?token=dtok_x"),)), PORTAL),
        (Reply(307, b"", (("Location", "/elsewhere?X-Amz-Signature=1"),)), PORTAL),
        (Reply(304), PORTAL),
        (as_html(511), PORTAL),
        (as_html(407), OfflineKind.PROXY),
    ],
)
def test_what_no_api_answers_is_offline(
    server: SocketApi, api: RecordingsApi, what: str, reply: Reply, kind: OfflineKind
) -> None:
    """A redirect, a login page, a 401 without a JSON error: something else answered; nothing is followed."""
    failure = failure_of(api, server, what, reply)
    assert isinstance(failure, Offline)
    assert (failure.kind, failure.exit_code) == (kind, 75)
    assert len(server.seen) == 1


@pytest.mark.parametrize("what", ["create", "upload_url", "complete", "refresh"])
@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>Log in", b"OK", b"[]", b"null", b'"rec_1"', b"{}"),
        *(
            b'{"id": "rec_1"',
            b'{"a":' * 60_000,
            b'{"status": "uploaded"}',
            b'{"id": null}',
        ),
        b'{"id": "rec_1", "pad": "' + b"x" * 2_000_000 + b'"}',
    ],
    ids=lambda body: repr(body[:24]) if isinstance(body, bytes) else None,
)
def test_a_2xx_that_is_not_the_expected_object_is_offline(
    server: SocketApi, api: RecordingsApi, what: str, status: int, body: bytes
) -> None:
    """A captive portal that says 200, half an object, no id, a body beyond the cap: no success."""
    failure = failure_of(api, server, what, Reply(status, body))
    assert isinstance(failure, Offline)
    assert failure.kind is PORTAL


@pytest.mark.parametrize("what", ["create", "upload_url", "complete", "refresh"])
@pytest.mark.parametrize(
    "value", ["", 5, True, [], {}, ["rec_1"], "x" * 70_000, "rec\x1b[31m", "rec\n", 10**400, "\x00"]
)
def test_a_2xx_whose_one_field_is_absurd_has_failed(
    server: SocketApi, api: RecordingsApi, what: str, value: object
) -> None:
    """What the call cannot do without counts as missing, and nobody takes it for an outage."""
    name = {"upload_url": "upload_url", "refresh": "device_token"}.get(what, "id")
    body = {name: value} if name == "id" else {"id": "rec_1", name: value}
    failure = failure_of(api, server, what, as_json(body))
    assert type(failure) is UnusableAnswer
    assert failure.exit_code == 75


# section 4: complete

OTHER = "cd" * 32
AT = "2026-08-06T07:06:40Z"
VERIFIED = {"content_sha256": SHA, "content_sha256_verified_at": AT}


@pytest.mark.parametrize(
    ("body", "verified", "status"),
    [
        ({"id": "rec_1", "status": "uploaded", **VERIFIED}, True, "uploaded"),
        ({"id": "rec_1", "status": "pending", **VERIFIED}, True, "pending"),
        ({"id": "rec_1", "content_sha256": SHA.upper(), "content_sha256_verified_at": AT}, True, None),
        ({"content_sha256": SHA, "content_sha256_verified_at": AT}, True, None),
        ({"id": "rec_1", "status": "uploaded"}, False, "uploaded"),
        ({"id": "rec_1", "status": "processing"}, False, "processing"),
        ({"id": "rec_1", "status": "completed"}, False, "completed"),
        ({"id": "rec_1", "status": "failed"}, False, "failed"),
        ({"id": "rec_1", "status": "teleported"}, False, "teleported"),
        ({"id": "rec_1"}, False, None),
        ({"id": "rec_1", "content_sha256": None, "content_sha256_verified_at": None}, False, None),
        ({"id": "rec_1", "content_sha256": SHA, "content_sha256_verified_at": None}, False, None),
        ({"id": "rec_1", "content_sha256": "", "status": "uploaded"}, False, "uploaded"),
        ({"id": "rec_1", "status": "uploaded", "content_sha256_verified_at": AT}, False, "uploaded"),
    ],
)
def test_complete_done(
    server: SocketApi, api: RecordingsApi, body: dict[str, Any], verified: bool, status: str | None
) -> None:
    """Both contracts are success; only our own hash with the time of its check is the strong form."""
    server.script(as_json(body))
    completion = api.complete("rec_1", SHA)
    assert (completion.verified, completion.status) == (verified, status)
    assert server.seen[0].target == "/v1/recordings/rec_1/upload-complete"
    assert server.seen[0].body == b'{"content_sha256":"' + SHA.encode() + b'"}'


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (as_json({"id": "rec_2", "content_sha256": SHA, "content_sha256_verified_at": AT}), InvalidResponse),
        (as_json({"id": "rec_2", "status": "uploaded"}), InvalidResponse),
        (
            as_json({"id": "rec_1", "content_sha256": OTHER, "content_sha256_verified_at": AT}),
            InvalidResponse,
        ),
        (as_json({"id": "rec_1", "content_sha256": OTHER, "status": "uploaded"}), InvalidResponse),
        (as_json({"content_sha256": OTHER}), InvalidResponse),
        (as_json(ERROR, 425), StillVerifying),
        (Reply(425), StillVerifying),
        (as_json({"id": "rec_1", "status": "pending"}), StillVerifying),
        (as_json({"id": "rec_1", "status": "integrity_failure"}), Conflict),
        (as_json(ERROR, 400), RequestRejected),
        (as_json(ERROR, 404), NotFound),
        (as_json(ERROR, 409), Conflict),
    ],
)
def test_complete_not_done(
    server: SocketApi, api: RecordingsApi, reply: Reply, kind: type[ApiFailure]
) -> None:
    """Another id, another hash, still verifying, conflict, gone: each is its own failure."""
    assert type(failure_of(api, server, "complete", reply)) is kind


def test_still_verifying_may_name_a_wait(server: SocketApi, api: RecordingsApi) -> None:
    """A Retry-After on a 425 is handed on."""
    failure = failure_of(api, server, "complete", Reply(425, b"", (("Retry-After", "20"),)))
    assert isinstance(failure, StillVerifying)
    assert failure.retry_after == 20.0


# section 3: storage


def s3(code: str) -> bytes:
    """Return an error body of S3."""
    return (
        f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>words &amp; more</Message></Error>".encode()
    )


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(403, s3("AccessDenied")), UploadRefused),
        (Reply(403, s3("SignatureDoesNotMatch")), UploadRefused),
        (Reply(403), UploadRefused),
        (as_html(403), UploadRefused),
        (Reply(401, s3("AccessDenied")), UploadRefused),
        (Reply(400, s3("ExpiredToken")), UploadRefused),
        (Reply(400, s3("RequestTimeout")), StorageBusy),
        (Reply(400, s3("IncompleteBody")), StorageBusy),
        (Reply(408), StorageBusy),
        (Reply(429), RateLimited),
        (Reply(500, s3("InternalError")), StorageBusy),
        (Reply(502), StorageBusy),
        (Reply(503, s3("SlowDown")), StorageBusy),
        (Reply(400, s3("InvalidArgument")), RequestRejected),
        (Reply(404, s3("NoSuchBucket")), RequestRejected),
        (Reply(411), RequestRejected),
        (Reply(413, s3("EntityTooLarge")), RequestRejected),
        (Reply(200), Offline),
        (as_html(200), Offline),
        (Reply(204), Offline),
        (Reply(200, b"", (("ETag", ""),)), Offline),
        (Reply(307, b"", (("Location", "http://127.0.0.1:9/"), ("ETag", "x"))), Offline),
        (Reply(302, b"", (("Location", "https://login.example/"),)), Offline),
        (Reply(307, s3("TemporaryRedirect"), (("Location", "https://eu.s3.example/b"),)), StorageBusy),
        (Reply(301, s3("PermanentRedirect")), StorageBusy),
        (as_html(511), Offline),
        (as_html(407), Offline),
    ],
)
def test_storage_answers(server: SocketApi, api: RecordingsApi, reply: Reply, kind: type[ApiFailure]) -> None:
    """2xx with an ETag alone is success; 403 wants a fresh URL; S3's transient codes mean later."""
    failure = failure_of(api, server, "put", reply)
    assert type(failure) is kind
    assert len(server.seen) == 1
    if isinstance(failure, RequestRejected | StorageBusy | UploadRefused):
        assert failure.status == reply.status
    if b"words" in reply.body:
        assert "words & more" in str(failure)


@pytest.mark.parametrize("status", [200, 201, 204])
def test_any_2xx_with_an_etag_is_stored(server: SocketApi, api: RecordingsApi, status: int) -> None:
    """S3 says 200, others may say 201 or 204."""
    server.script(Reply(status, b"", (("ETag", '"1"'),)))
    call(api, "put", server, io.BytesIO(b"abc"))
    assert server.seen[0].body == b"abc"
