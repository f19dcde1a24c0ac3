"""A server that answers as it is told, and the failure that the client takes each answer for."""

import io
from collections.abc import Iterator

import pytest
from api_bench import TOKEN, call, client_of, everything_said_by
from socket_api import Reply, SocketApi

from agent.api.client import RecordingsApi
from agent.api.errors import ApiFailure

ERROR = {"error": {"code": "invalid_request", "message": "no such thing", "param": "name"}}


@pytest.fixture(scope="module")
def standing_server() -> Iterator[SocketApi]:
    with SocketApi().running() as running:
        yield running


@pytest.fixture(scope="module")
def api(standing_server: SocketApi) -> Iterator[RecordingsApi]:
    with client_of(standing_server) as client:
        yield client


@pytest.fixture
def server(standing_server: SocketApi) -> SocketApi:
    standing_server.seen.clear()
    while not standing_server.replies.empty():
        standing_server.replies.get()
    return standing_server


def failure_of(api: RecordingsApi, server: SocketApi, what: str, reply: Reply) -> ApiFailure:
    """Return the failure that a reply to a call is; it must be one sentence that tells no secret."""
    server.script(reply)
    with pytest.raises(ApiFailure) as caught:
        call(api, what, server, io.BytesIO(b"abc"))
    said = everything_said_by(caught.value)
    assert TOKEN not in said
    assert "X-Amz-Signature" not in said
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 500
    return caught.value
