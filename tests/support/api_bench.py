"""A client of the recordings API for tests: known time-outs and token, clocks that stand still."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pytest
from socket_api import Reply, SocketApi

from agent.api.client import RecordingsApi, Timeouts, UploadUrl
from agent.api.device_token import Token
from agent.clock import SystemClock
from agent.config.schema import ApiConfig

TOKEN = "dtok_kept-To_itself0123456789"
NOW = 1_786_000_000.0
PATIENT = Timeouts(connect=10.0, read=30.0, write=30.0, answer=30.0, keepalive=30.0)
SHORT = Timeouts(connect=5.0, read=0.5, write=0.5, answer=1.0, keepalive=30.0)
SHA = "ab" * 32
SIGNATURE = "5ec2e7f00d"
STORED = Reply(200, b"", (("ETag", '"d41d8"'),))


class StillClock(SystemClock):
    """Stands at ``NOW``, five seconds after its zero."""

    def wall(self) -> float:
        """Return ``NOW``."""
        return NOW

    def monotonic(self) -> float:
        """Return 5.0."""
        return 5.0


class Secret(Token):
    """A device token of any characters."""

    def __init__(self, text: str = TOKEN) -> None:  # no check of the format
        self._text = text


@contextmanager
def client_of(
    server: SocketApi, *, token: str = TOKEN, ca_file: str = "", timeouts: Timeouts = PATIENT
) -> Iterator[RecordingsApi]:
    """Give a client whose base URL is the server's ``/v1``."""
    api = RecordingsApi(
        ApiConfig(base_url=f"{server.url}/v1", ca_file=ca_file),
        lambda: Secret(token),
        StillClock(),
        timeouts=timeouts,
    )
    try:
        yield api
    finally:
        api.close()


def upload_url_for(server: SocketApi) -> UploadUrl:
    """Return an upload URL for a PUT to the server, with a secret in its query."""
    return UploadUrl(
        f"{server.url}/bucket/rec%2F1.opus?X-Amz-Credential=AKIA%2F2026&X-Amz-Signature={SIGNATURE}",
        {"Content-Type": "audio/opus", "x-amz-meta-kind": "audio"},
    )


def call(api: RecordingsApi, what: str, server: SocketApi, file: BinaryIO | None = None) -> object:
    """Make one call by its name, with arguments that suit it."""
    match what:
        case "create":
            return api.create("0198c0de-0000-7000-8000-000000000001", {"name": "n"})
        case "upload_url":
            return api.upload_url("rec_1", content_type="audio/opus", size_bytes=3, captured_at=None)
        case "complete":
            return api.complete("rec_1", SHA)
        case "heartbeat":
            return api.heartbeat({"device_state": "idle"})
        case "refresh":
            return api.refresh("dev_1")
        case "put":
            if file is None:
                raise AssertionError("a PUT needs a file")
            api.put(upload_url_for(server), file, 3)
            return None
    raise AssertionError(what)


def everything_said_by(error: BaseException) -> str:
    """Return all that a log of this error could show: texts, reprs and attributes along its whole chain."""
    said = ["".join(traceback.format_exception(error))]
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is not None and current not in seen:
            seen.append(current)
            said += [str(current), repr(current), repr(vars(current)), repr(current.args)]
            waiting += [current.__cause__, current.__context__]
    return "\n".join(said)


@pytest.fixture
def server() -> Iterator[SocketApi]:
    """Give an API of sockets that answers what it is told to."""
    with SocketApi().running() as running:
        yield running


@pytest.fixture
def api(server: SocketApi) -> Iterator[RecordingsApi]:
    """Give a client of it."""
    with client_of(server) as client:
        yield client
