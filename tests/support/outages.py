"""A server that breaks calls, a client with short timeout, and the outages that the client reports."""

import datetime as dt
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from api_bench import SHORT, SIGNATURE, TOKEN, client_of, everything_said_by
from socket_api import SocketApi, as_json

from agent.api.client import RecordingsApi
from agent.api.errors import Offline, StorageUnreachable

MEGABYTES = 8 * 1024 * 1024
CREATED = as_json({"id": "rec_1"}, 201)


@pytest.fixture
def api(server: SocketApi) -> Iterator[RecordingsApi]:
    with client_of(server, timeouts=SHORT) as client:
        yield client


def offline(act: Callable[[], object]) -> Offline:
    """Return the outage that ``act`` meets; it tells no secret."""
    with pytest.raises(Offline) as caught:
        act()
    said = everything_said_by(caught.value)
    assert TOKEN not in said
    assert SIGNATURE not in said
    assert str(caught.value).endswith(".")
    assert caught.value.exit_code == 75
    return caught.value


def unreachable(act: Callable[[], object]) -> StorageUnreachable:
    """Return the outage of storage that ``act`` meets; it tells no secret."""
    with pytest.raises(StorageUnreachable) as caught:
        act()
    said = everything_said_by(caught.value)
    assert TOKEN not in said
    assert SIGNATURE not in said
    assert str(caught.value).endswith(".")
    return caught.value


TAG = (("ETag", "x"),)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def tls_of(authority: trustme.CA, name: str, days_from: int, days_to: int) -> ssl.SSLContext:
    """Return a server's context with a certificate valid between two days from now."""
    now = dt.datetime.now(dt.UTC)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(
        name,
        not_before=now + dt.timedelta(days=days_from),
        not_after=now + dt.timedelta(days=days_to),
    ).configure_cert(context)
    return context
