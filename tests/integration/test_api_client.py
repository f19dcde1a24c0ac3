"""The client's requests, byte by byte, and the answers it takes for success; over real sockets."""

import io
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_bench import NOW, SHA, SIGNATURE, TOKEN, Secret, StillClock, call, client_of, upload_url_for
from logcapture import capture_logs
from socket_api import Reply, SocketApi, as_html, as_json

from agent import __version__
from agent.api.client import PACED_CHUNK, RecordingsApi, ServerDate, Timeouts, UploadUrl
from agent.api.errors import ApiFailure, InvalidResponse, Unauthorized, UnusableAnswer, UploadRefused
from agent.api.headers import RateLimit
from agent.api.urls import check_storage_url
from agent.config.schema import ApiConfig
from agent.errors import ConfigError

LOCAL = "0198c0de-0000-7000-8000-000000000001"
STORED = Reply(200, b"", (("ETag", '"d41d8"'),))
LIMITS = {"Limit": "100", "Remaining": "7", "Reset": "30"}
CREATED = {"id": "rec_1", "device_id": "dev_1", "end_user_id": "eu_1", "status": "pending"}


@pytest.fixture
def server() -> Iterator[SocketApi]:
    with SocketApi().running() as running:
        yield running


@pytest.fixture
def api(server: SocketApi) -> Iterator[RecordingsApi]:
    with client_of(server) as client:
        yield client


# create


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


# upload URL


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


# the PUT


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


# heartbeat, refresh, date


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


def test_the_date_and_the_rate_limit_of_the_latest_answer(server: SocketApi, api: RecordingsApi) -> None:
    """Any answer of the API host gives its Date, a refusal too; storage's Date is not taken."""
    assert (api.last_date, api.rate_limit) == (None, None)
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
    assert api.rate_limit == RateLimit(limit=100, remaining=7, reset_in=30.0, monotonic=5.0)


# the connection, the token, the log


def test_many_calls_share_one_connection(server: SocketApi, api: RecordingsApi) -> None:
    """Ten calls, refusals among them, use one TCP connection; two threads at once do too."""
    server.script(*[as_json({"message": "no"}, 404) if n % 3 else as_json({}) for n in range(10)])
    api.heartbeat({})
    for _ in range(2):
        with pytest.raises(Exception, match="404"):
            api.heartbeat({})
    api.heartbeat({})
    threads = [threading.Thread(target=api.ask_date) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert len(server.seen) == 10
    assert server.connections == 1


def test_calls_of_many_threads_wait_for_their_turn(server: SocketApi) -> None:
    """A call waits for as long as those before it take, which may be longer than a connection may."""
    server.script(*[as_json({}, dribble=0.001) for _ in range(5)])
    failures: list[Exception] = []
    with client_of(server, timeouts=Timeouts(connect=0.1, read=5.0, write=5.0, answer=5.0)) as api:

        def beat() -> None:
            try:
                api.heartbeat({})
            except ApiFailure as failure:
                failures.append(failure)

        threads = [threading.Thread(target=beat) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
    assert failures == []
    assert len(server.seen) == 5
    assert server.connections == 1


def test_a_connection_the_server_closed_is_not_used_again(server: SocketApi, api: RecordingsApi) -> None:
    """An idle connection that the server gave up costs no failed call; ``wake`` gives one up by itself."""
    server.script(as_json({}), as_json({}), as_json({}))
    api.heartbeat({})
    server.close_idle()
    api.heartbeat({})
    api.wake()
    api.heartbeat({})
    assert server.connections == 3


def test_what_nobody_asked_for_is_no_answer_to_the_next_call(server: SocketApi, api: RecordingsApi) -> None:
    """A server, or a proxy before it, that answers twice: the second answer is dropped with its connection."""
    body = b'{"commands": []}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )
    server.script(Reply(raw=answer * 2), as_json({"firmware": "mine"}))
    assert api.heartbeat({}) == {"commands": []}
    assert api.heartbeat({}) == {"firmware": "mine"}
    assert server.connections == 2


@pytest.mark.parametrize("token", ["", "dtok_a b", "dtok_ä", "dtok_a\r\nX: y"])
def test_a_token_that_cannot_be_sent_is_refused_unsent(server: SocketApi, token: str) -> None:
    """A mangled token file is a credential failure that does not show the token."""
    with client_of(server, token=token) as api, pytest.raises(Unauthorized, match="cannot be sent") as caught:
        api.heartbeat({})
    assert caught.value.status is None
    assert server.seen == []
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("http://api.bota.dev/v1", "http://192.168.1.1/", "http://[", "ftp://x/", "api.bota.dev", ""),
        *("https://u:p@x/", "https://x/?a=1", "https://x/#a"),
    ],
)
def test_an_unsafe_base_url_is_a_config_error(url: str) -> None:
    """Plain http is for loopback alone, and a base URL holds no user and no query."""
    with pytest.raises(ConfigError, match="base_url"):
        RecordingsApi(ApiConfig(base_url=url), Secret, StillClock())


def test_plain_http_never_goes_through_a_proxy(server: SocketApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment does not get to read the token on its way to loopback."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    server.script(as_json({}))
    with client_of(server) as api:
        assert api.heartbeat({}) == {}


def test_logs_show_neither_token_nor_query(
    server: SocketApi, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the chattiest levels of httpx, httpcore and of ours there is no token and no signature."""
    caplog.set_level(logging.DEBUG)
    server.script(as_json({}), STORED)
    with capture_logs() as events, client_of(server) as api:
        api.heartbeat({})
        call(api, "put", server, io.BytesIO(b"abc"))
    assert [event["action"] for event in events] == ["api_answer", "storage_answer"]
    shown = caplog.text + repr(events) + repr(api) + "".join(capsys.readouterr())
    assert TOKEN not in shown
    assert SIGNATURE not in shown
