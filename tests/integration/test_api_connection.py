"""One connection for all calls, and what never leaves through it: the token, a query, plain http."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import io
import logging
import threading

import pytest
from api_bench import SIGNATURE, STORED, TOKEN, Secret, StillClock, api, call, client_of, server
from logcapture import capture_logs
from socket_api import Reply, SocketApi, as_json

from agent.api.client import RecordingsApi, Timeouts
from agent.api.errors import ApiFailure, Unauthorized
from agent.config.schema import ApiConfig
from agent.errors import ConfigError


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
