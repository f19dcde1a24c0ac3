"""What a failure carries, by api.md section 5: the server's words without secrets, and how long to wait."""

from typing import Any

import pytest
from api_bench import NOW, TOKEN, call, client_of, everything_said_by
from api_verdicts import api, failure_of, server, standing_server
from socket_api import Reply, SocketApi, as_json

from agent.api.admission import AdmitAll
from agent.api.client import RecordingsApi
from agent.api.errors import Busy, RateLimited, RequestRejected

__all__ = ["api", "server", "standing_server"]

# section 5: the server's words


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b'{"error":{"code":"not_found","message":"gone","details":{}}}', "not_found", "gone"),
        (b'{"error":{"type":"invalid","message":"bad"}}', "invalid", "bad"),
        (b'{"error":{"code":"c","message":"m","param":"name","request_id":"r"}}', "c", "m [name]"),
        (b'{"error":"text"}', None, "text"),
        (b'{"message":"only this"}', None, "only this"),
        (b'{"error":{"code":42,"message":null}}', "42", ""),
        (b'{"error":null,"message":{"a":1}}', None, ""),
        (b"<html><head><title>404 Not\n Found</title></head><body>x</body>", None, "404 Not Found"),
        (b"<html><script>var a=1;</script><p>Sorry,&nbsp;no", None, "Sorry, no"),
        (b"plain\r\n words\x00\x1b[31m", None, "plain words[31m"),
        (b"", None, ""),
        (b"\xff\xfe", None, "\ufffd\ufffd"),
        (b'{"message":"' + b"long " * 500 + b'"}', None, "long " * 59 + "long\u2026"),
    ],
)
def test_the_servers_words_in_every_shape(
    server: SocketApi, api: RecordingsApi, body: bytes, code: str | None, words: str
) -> None:
    """Code and message of each error shape, as one line of at most 300 characters."""
    failure = failure_of(api, server, "create", Reply(400, body))
    assert isinstance(failure, RequestRejected)
    assert (failure.code, failure.words) == (code, words)
    assert len(failure.words) <= 300
    assert words in str(failure)


@pytest.mark.parametrize(
    "said",
    [
        f"token {TOKEN} is bad",
        f"Bearer {TOKEN}",
        "x" * 290 + TOKEN,
        f"dt\u200bok {TOKEN[:5]}\x07{TOKEN[5:]}",
        "PUT https://s3.example/b?X-Amz-Signature=5ec2e7f00d&a=b failed",
        "GET https://s3.example/b?next=5ec2e7f00d failed",
        "see https://user:5ec2e7f00d@host/x",
        "grant_token: 5ec2e7f00d",
        "eyJhbGciOiJI.eyJ5ec2e7f00d.5ec2e7f00d",
    ],
)
def test_secrets_echoed_by_the_server_are_hidden(server: SocketApi, api: RecordingsApi, said: str) -> None:
    """Whatever an error body repeats, no token and no query gets into words, code or sentence."""
    for body in ({"error": {"code": said, "message": said}}, {"error": said}):
        failure = failure_of(api, server, "create", as_json(body, 422))
        everything = everything_said_by(failure)
        assert TOKEN[8:] not in everything
        assert "5ec2e7f00d" not in everything


def test_a_token_of_an_unknown_form_is_hidden_too(server: SocketApi) -> None:
    """The token in use is hidden for what it is, not for how it looks."""
    server.script(
        as_json({"error": {"code": "opaque.5ec2e7f00d", "message": "no opaque.5ec2e7f00d here"}}, 422)
    )
    with client_of(server, token="opaque.5ec2e7f00d") as api, pytest.raises(RequestRejected) as caught:
        call(api, "create", server)
    assert "5ec2e7f00d" not in everything_said_by(caught.value)
    assert caught.value.words == "no [hidden] here"


# section 5: pauses


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": " 7.5 "}, 7.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "99999999"}, 3600.0),
        ({"Retry-After": "9" * 400}, None),
        ({"Retry-After": "86400"}, 3600.0),
        ({"Retry-After": "Thu, 06 Aug 2026 07:08:40 GMT"}, 120.0),
        ({"Retry-After": "Thursday, 06-Aug-26 07:08:40 GMT"}, 120.0),
        ({"Retry-After": "Thu Aug  6 07:08:40 2026"}, 120.0),
        ({"Retry-After": "Thu, 06 Aug 2026 06:00:00 GMT"}, 0.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:01:00 GMT", "Date": "Thu, 01 Jan 1970 00:00:00 GMT"}, 60.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "1_0"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "Thu, 99 Foo 2026"}, None),
        ({}, None),
    ],
)
def test_retry_after_in_every_form(
    server: SocketApi, api: RecordingsApi, headers: dict[str, str], seconds: float | None
) -> None:
    """Seconds or an HTTP date, judged by the answer's own Date, else by our clock; for 429 and 503 alike."""
    for status in (429, 503):
        failure = failure_of(api, server, "create", Reply(status, b"", tuple(headers.items())))
        assert isinstance(failure, Busy)
        assert failure.retry_after == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"X-RateLimit-Reset": "30"}, 30.0),
        ({"X-RateLimit-Reset": "0"}, 0.0),
        ({"X-RateLimit-Reset": str(int(NOW) + 45)}, 45.0),
        ({"X-RateLimit-Reset": str((int(NOW) + 45) * 1000)}, 45.0),
        ({"X-RateLimit-Reset": str(int(NOW) - 45)}, 0.0),
        ({"X-RateLimit-Reset": str(int(NOW) + 45), "Date": "Thu, 06 Aug 2026 07:07:10 GMT"}, 15.0),
        ({"X-RateLimit-Reset": str(int(NOW) + 40 * 86_400)}, None),
        ({"X-RateLimit-Reset": "100000000"}, None),
        ({"X-RateLimit-Reset": "60000"}, None),
        ({"X-RateLimit-Reset": "later"}, None),
        ({"X-RateLimit-Reset": "30", "Retry-After": "7"}, 7.0),
        ({"X-RateLimit-Reset": "30", "Retry-After": "soon"}, 30.0),
    ],
)
def test_rate_limit_reset_in_every_form(
    server: SocketApi,
    api: RecordingsApi,
    monkeypatch: pytest.MonkeyPatch,
    headers: dict[str, str],
    seconds: float | None,
) -> None:
    """Unix seconds, or small numbers as seconds; Retry-After goes first; more than an hour is no window."""
    limits: list[Any] = []
    monkeypatch.setattr(AdmitAll, "answered", lambda _self, _call, _status, said, _asked: limits.append(said))
    failure = failure_of(api, server, "create", Reply(429, b"", tuple(headers.items())))
    assert isinstance(failure, RateLimited)
    assert failure.retry_after == seconds
    assert len(limits) == 1
    assert limits[0] is None or limits[0].reset_in is None or limits[0].reset_in >= 0


def test_a_reset_header_is_no_retry_after_of_a_503(server: SocketApi, api: RecordingsApi) -> None:
    """A window that ends says nothing about when an overloaded server is back."""
    failure = failure_of(api, server, "create", Reply(503, b"", (("X-RateLimit-Reset", "30"),)))
    assert isinstance(failure, Busy)
    assert failure.retry_after is None
