"""Calls that get no connection: refused, unknown names, proxies, wrong certificates."""

import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from api_bench import SIGNATURE, TOKEN, Secret, StillClock, call, client_of, server
from outages import CREATED, authority, ca_file, offline, tls_of
from socket_api import Reply, SocketApi

from agent.api.client import RecordingsApi, Timeouts
from agent.api.errors import OfflineKind
from agent.config.schema import ApiConfig
from agent.errors import ConfigError

__all__ = ["authority", "ca_file", "server"]


@contextmanager
def client_at(url: str, ca_file: str = "") -> Iterator[RecordingsApi]:
    """Give a client of any base URL."""
    settings = ApiConfig(base_url=url, ca_file=ca_file)
    timeouts = Timeouts(1.0, 1.0, 1.0, 1.0)
    api = RecordingsApi(settings, Secret, StillClock(), timeouts=timeouts)
    try:
        yield api
    finally:
        api.close()


# no connection


def test_a_refused_connection(server: SocketApi) -> None:
    """Nothing listens: no connection, with the system's reason."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    server.port = port
    with client_of(server) as api:
        failure = offline(lambda: call(api, "create", server))
    assert failure.kind is OfflineKind.CONNECT
    assert "refused" in str(failure)


@pytest.mark.parametrize("host", ["recorder.invalid", "a" * 70 + ".invalid"])
def test_a_name_that_does_not_resolve(host: str, server: SocketApi) -> None:
    """An unknown name, or one no resolver would take, is a DNS outage."""
    with client_at(f"https://{host}/v1") as api:
        failure = offline(lambda: call(api, "create", server))
    assert failure.kind is OfflineKind.DNS
    assert host[:20] in str(failure)


def test_a_proxy_that_refuses_is_named(server: SocketApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """CONNECT answered with 407 is a proxy's refusal; the token was not shown to it."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SIGNATURE}@127.0.0.1:{server.port}")
    server.script(Reply(407))
    with client_at("https://api.invalid/v1") as api:
        assert offline(lambda: call(api, "create", server)).kind is OfflineKind.PROXY
    (seen,) = server.seen
    assert (seen.method, seen.target) == ("CONNECT", "api.invalid:443")
    assert TOKEN.encode() not in seen.head


def test_a_proxy_that_is_down_is_named(monkeypatch: pytest.MonkeyPatch, server: SocketApi) -> None:
    """The sentence says that the way led through a proxy."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with client_at("https://api.invalid/v1") as api:
        failure = offline(lambda: call(api, "create", server))
    assert failure.kind is OfflineKind.CONNECT
    assert "through the proxy 127.0.0.1" in str(failure)


@pytest.mark.parametrize("proxy", [f"ftp://u:{SIGNATURE}@x", f"socks5://u:{SIGNATURE}@x:1", "http://[::1:x"])
def test_an_unusable_proxy_is_a_config_error(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """A proxy we cannot speak to is named at the start, without its password."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ConfigError, match="HTTPS_PROXY") as caught, client_at("https://x/v1"):
        pass
    assert SIGNATURE not in str(caught.value)


# TLS


@pytest.mark.parametrize(
    ("name", "days", "trusted", "kind", "word"),
    [
        ("127.0.0.1", (5, 9), True, OfflineKind.CLOCK, "not yet valid"),
        ("127.0.0.1", (-9, -5), True, OfflineKind.TLS, "expired"),
        ("127.0.0.2", (-5, 5), True, OfflineKind.TLS, "not trusted"),
        ("127.0.0.1", (-5, 5), False, OfflineKind.TLS, "not trusted"),
    ],
)
def test_a_certificate_that_is_not_good(
    authority: trustme.CA,
    ca_file: str,
    name: str,
    days: tuple[int, int],
    trusted: bool,
    kind: OfflineKind,
    word: str,
) -> None:
    """Not yet valid is a clock problem; expired, of another host or another CA is a TLS problem."""
    with SocketApi(tls=tls_of(authority, name, *days)).running() as server:
        server.script(CREATED)
        with client_of(server, ca_file=ca_file if trusted else "") as api:
            failure = offline(lambda: call(api, "create", server))
        assert server.seen == []
    assert failure.kind is kind
    assert word in str(failure)


def test_tls_with_the_owners_ca(authority: trustme.CA, ca_file: str) -> None:
    """With ``ca_file`` a certificate of that CA is trusted, and the connection is kept across calls."""
    with SocketApi(tls=tls_of(authority, "127.0.0.1", -5, 5)).running() as server:
        server.script(CREATED, CREATED, Reply(200, b"", (("ETag", "x"),)))
        with client_of(server, ca_file=ca_file) as api:
            call(api, "create", server)
            call(api, "create", server)
            assert server.connections == 1
            call(api, "put", server, io.BytesIO(b"abc"))
        assert server.seen[2].body == b"abc"


def test_https_to_a_server_that_speaks_plain_http(server: SocketApi) -> None:
    """A portal that answers plain http on the TLS port is a TLS problem."""
    server.script(Reply(drop="before"))
    with client_at(f"https://127.0.0.1:{server.port}/v1") as api:
        assert offline(lambda: call(api, "create", server)).kind in {OfflineKind.TLS, OfflineKind.CONNECT}


@pytest.mark.parametrize("text", [None, "", "no certificate"])
def test_a_ca_file_that_cannot_be_used(tmp_path: Path, text: str | None) -> None:
    """A missing or senseless CA file is a config error that names it."""
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"ca\.pem"), client_at("https://x/v1", str(path)):
        pass
