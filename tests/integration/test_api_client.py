"""The client's requests, byte by byte, and the answers it takes for success; over real sockets."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import io
import json
from pathlib import Path
from typing import Any

import pytest
from api_bench import NOW, SHA, SIGNATURE, STORED, TOKEN, api, call, server, upload_url_for
from socket_api import Reply, SocketApi, as_html, as_json

from agent import __version__
from agent.api.admission import AdmitAll
from agent.api.client import PACED_CHUNK, RecordingsApi, ServerDate, UploadUrl
from agent.api.errors import InvalidResponse, UnusableAnswer, UploadRefused
from agent.api.headers import RateLimit
from agent.api.urls import check_storage_url

LOCAL = "0198c0de-0000-7000-8000-000000000001"


LIMITS = {"Limit": "100", "Remaining": "7", "Reset": "30"}


CREATED = {"id": "rec_1", "device_id": "dev_1", "end_user_id": "eu_1", "status": "pending"}


def test_create_sends_key_token_and_body(server: SocketApi, api: RecordingsApi) -> None:
    """A create is a POST with the bearer, the local id as Idempotency-Key, and the body as given."""
    server.script(as_json(CREATED, 201))
    created = api.create(LOCAL, {"name": "hall · 1", "metadata": {"client_recording_id": LOCAL}})
    assert (created.id, created.device_id, created.end_user_id, created.status) == (
        "rec_1",
        "dev_1",
        "eu_1",
        "pending",
    )
    (seen,) = server.seen
    assert (seen.method, seen.target) == ("POST", "/v1/recordings")
    assert seen.one("Authorization") == f"Bearer {TOKEN}"
    assert seen.one("Idempotency-Key") == LOCAL
    assert seen.one("Content-Type") == "application/json"
    assert seen.one("User-Agent") == f"recorder-agent/{__version__}"
    assert seen.all("Cookie") == seen.all("Transfer-Encoding") == []
    assert seen.one("Accept-Encoding") == "identity"
    assert json.loads(seen.body) == {"name": "hall · 1", "metadata": {"client_recording_id": LOCAL}}


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"id": "rec_1"}, (None, None, None)),
        ({"id": "rec_1", "status": "hovering", "new": [{}]}, (None, None, "hovering")),
        ({"id": "rec_1", "device_id": 7, "end_user_id": None, "status": {}}, (None, None, None)),
    ],
)
def test_create_takes_any_2xx_with_an_id(
    server: SocketApi, api: RecordingsApi, status: int, body: dict[str, Any], expected: tuple[object, ...]
) -> None:
    """Unknown statuses stay text, unknown fields are ignored, wrongly typed ones are as good as missing."""
    server.script(as_json(body, status))
    created = api.create(LOCAL, {})
    assert created.id == "rec_1"
    assert (created.device_id, created.end_user_id, created.status) == expected


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"headers": {"Content-Type": "audio/ogg", "x-b": "c"}}, {"Content-Type": "audio/ogg", "x-b": "c"}),
        ({"content_type": "audio/ogg"}, {"Content-Type": "audio/ogg"}),
        ({}, {"Content-Type": "audio/opus"}),
        ({"headers": None, "content_type": None}, {"Content-Type": "audio/opus"}),
        ({"headers": {"X-Len": 5}, "content_type": "audio/ogg"}, {"X-Len": "5"}),
        ({"headers": {"Content-Type": ["audio/ogg"], "x-b": None}}, {"Content-Type": "audio/ogg"}),
        ({"headers": ["x"], "content_type": 7}, {"Content-Type": "audio/opus"}),
        ({"headers": {"Authorization": "Basic eA==", "HOST": "evil", "x-a": "b"}}, {"x-a": "b"}),
    ],
)
def test_upload_url_in_all_shapes(
    server: SocketApi, api: RecordingsApi, extra: dict[str, Any], expected: dict[str, str]
) -> None:
    """Headers as an object, a flat content type, or neither; what belongs to the connection is left out."""
    url = f"{server.url}/b?X-Amz-Signature={SIGNATURE}"
    server.script(as_json({"upload_url": url, "expires_at": "t", "media_id": "med_1", **extra}))
    upload_url = api.upload_url(
        "rec_1", content_type="audio/opus", size_bytes=99, captured_at="2026-08-06T07:06:40Z"
    )
    assert upload_url.url == url
    assert upload_url.headers == expected
    assert (upload_url.lifetime, upload_url.media_id) == (3600.0, "med_1")
    assert SIGNATURE not in repr(upload_url)
    assert json.loads(server.seen[0].body) == {
        "type": "audio",
        "content_type": "audio/opus",
        "file_size_bytes": 99,
        "captured_at": "2026-08-06T07:06:40Z",
    }


@pytest.mark.parametrize(
    "url",
    ["http://storage.example/b?s=1", "ftp://127.0.0.1/b", "//x/b", "https://", "https://u:p@x/b", "http://["],
)
def test_an_unsafe_upload_url_is_not_used(server: SocketApi, api: RecordingsApi, url: str) -> None:
    """Storage must be https (or loopback): another is asked for when it is named, and when it is used."""
    server.script(as_json({"upload_url": url}))
    with pytest.raises(UnusableAnswer, match="upload URL"):
        call(api, "upload_url", server)
    with pytest.raises(UploadRefused, match="upload URL"):
        api.put(UploadUrl(url, {}), io.BytesIO(b"abc"), 3)
    assert len(server.seen) == 1


def test_storage_on_this_machine_is_for_an_api_on_this_machine() -> None:
    """What another host's API names must not reach into this one."""
    for url in ("https://127.0.0.1/b", "http://localhost:8080/b", "https://[::1]/b"):
        check_storage_url(url, loopback=True)
        with pytest.raises(InvalidResponse, match="this very machine"):
            check_storage_url(url, loopback=False)
    check_storage_url("https://storage.example/b", loopback=False)


@pytest.mark.parametrize(
    "headers", [{"a b": "c"}, {"a": "b\r\nX-Evil: 1"}, {"a": "é"}, {"": "x"}, {"a": ["b", "c"]}]
)
def test_headers_that_cannot_be_sent_are_asked_for_again(
    server: SocketApi, api: RecordingsApi, headers: dict[str, Any]
) -> None:
    """A header with a line break or no name would split the request: the answer is not used."""
    server.script(as_json({"upload_url": f"{server.url}/b", "headers": headers}))
    with pytest.raises(UnusableAnswer, match="header"):
        call(api, "upload_url", server)


@pytest.mark.parametrize(
    ("remote_id", "segment"),
    [("rec_a-Z9", "rec_a-Z9"), ("..", "%2E%2E"), ("a/b?c#d", "a%2Fb%3Fc%23d"), ("é %", "%C3%A9%20%25")],
)
def test_ids_are_one_path_segment(
    server: SocketApi, api: RecordingsApi, remote_id: str, segment: str
) -> None:
    """Whatever an id holds, it cannot leave its place in the path."""
    server.script(as_json({"upload_url": f"{server.url}/b"}), as_json({"id": remote_id}))
    api.upload_url(remote_id, content_type="audio/opus", size_bytes=1, captured_at=None)
    api.complete(remote_id, SHA)
    assert [seen.target for seen in server.seen] == [
        f"/v1/recordings/{segment}/upload-url",
        f"/v1/recordings/{segment}/upload-complete",
    ]


def test_put_sends_length_and_returned_headers_and_nothing_that_tells(
    server: SocketApi, api: RecordingsApi, tmp_path: Path
) -> None:
    """Content-Length, no chunks, exactly the returned headers, the query untouched; no bearer, no cookie."""
    server.script(
        as_json(CREATED, 201, ("Set-Cookie", "session=1; Path=/")),
        Reply(200, b"", (("ETag", '"x"'), ("Set-Cookie", "s=2"))),
        STORED,
    )
    api.create(LOCAL, {})
    audio = tmp_path / "a.opus"
    audio.write_bytes(bytes(range(256)) * 1024)
    progress: list[int] = []
    for _ in range(2):
        with audio.open("rb") as file:
            api.put(upload_url_for(server), file, 256 * 1024, progress.append)
    first, second = server.seen[1:]
    assert first.method == "PUT"
    assert first.target == f"/bucket/rec%2F1.opus?X-Amz-Credential=AKIA%2F2026&X-Amz-Signature={SIGNATURE}"
    assert second.body == first.body == audio.read_bytes()
    assert sorted(name.lower() for name, _ in second.headers) == [
        "connection",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-amz-meta-kind",
    ]
    assert first.one("Content-Length") == str(256 * 1024)
    assert TOKEN.encode() not in first.head
    assert progress == [65536, 131072, 196608, 262144] * 2


def test_put_of_an_empty_file_and_of_a_part(server: SocketApi, api: RecordingsApi) -> None:
    """Exactly ``size`` bytes are sent: none at all, or the first three of five."""
    server.script(STORED, STORED)
    api.put(upload_url_for(server), io.BytesIO(b""), 0)
    api.put(upload_url_for(server), io.BytesIO(b"abcde"), 3)
    assert [(seen.one("Content-Length"), seen.body) for seen in server.seen] == [("0", b""), ("3", b"abc")]


def test_a_paced_put_asks_before_each_small_piece(server: SocketApi, api: RecordingsApi) -> None:
    """With a throttle the pieces are 4 KiB, each announced before it is sent."""
    server.script(STORED)
    asked: list[int] = []
    api.put(upload_url_for(server), io.BytesIO(bytes(10_000)), 10_000, pace=asked.append)
    assert asked == [PACED_CHUNK, PACED_CHUNK, 10_000 - 2 * PACED_CHUNK]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (as_json({"status": "ok", "commands": []}), {"status": "ok", "commands": []}),
        (as_json({"status": [1], "x": {"y": 1}}), {}),
        (as_json([1]), {}),
        (as_html(), {}),
        (Reply(204), {}),
        (Reply(200, b"[" * 100_000), {}),
    ],
)
def test_a_heartbeat_never_fails_by_its_answers_body(
    server: SocketApi, api: RecordingsApi, reply: Reply, expected: dict[str, Any]
) -> None:
    """Any 2xx is a heartbeat taken; what is no JSON object is an empty answer."""
    server.script(reply)
    assert api.heartbeat({"device_state": "idle", "flags": 8}) == expected
    assert server.seen[0].target == "/v1/devices/me/heartbeat"
    assert json.loads(server.seen[0].body) == {"device_state": "idle", "flags": 8}


def test_refresh_posts_nothing_and_returns_the_new_token(server: SocketApi, api: RecordingsApi) -> None:
    """The current token is the bearer, there is no body, and the new token comes back."""
    server.script(as_json({"device_token": "dtok_new"}))
    assert api.refresh("dev_1") == "dtok_new"
    (seen,) = server.seen
    assert (seen.target, seen.body) == ("/v1/devices/dev_1/token/refresh", b"")
    assert seen.one("Authorization") == f"Bearer {TOKEN}"
    assert seen.one("Content-Length") == "0"


def test_the_date_and_the_rate_limit_of_the_latest_answer(
    server: SocketApi, api: RecordingsApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any answer of the API host gives its Date, a refusal too; storage's Date is not taken."""
    limits: list[RateLimit | None] = []
    monkeypatch.setattr(AdmitAll, "answered", lambda _self, _call, _status, said, _asked: limits.append(said))
    before = api.last_date
    server.script(
        Reply(404, b"", (("Date", "Thu, 06 Aug 2026 07:06:40 GMT"),)),
        Reply(200, b"{}", tuple((f"X-RateLimit-{n}", v) for n, v in LIMITS.items())),
        Reply(200, b"", (("ETag", "x"), ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"))),
    )
    api.ask_date()
    assert server.seen[0].method == "HEAD"
    assert server.seen[0].all("Authorization") == []
    api.heartbeat({})
    call(api, "put", server, io.BytesIO(b"abc"))
    assert api.last_date == ServerDate(server=1786000000.0, wall=NOW, monotonic=5.0, round_trip=0.0)
    assert before is None
    assert limits == [None, RateLimit(limit=100, remaining=7, reset_in=30.0, monotonic=5.0)]
