"""What ends an upload that a server takes too slowly, and how a host with a broken family is reached."""

import io
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpcore
import httpx
import pytest
from api_bench import client_of, upload_url_for
from socket_api import Reply, SocketApi

from agent.api.client import RecordingsApi, Timeouts
from agent.api.errors import StorageUnreachable
from agent.api.transport.dual_stack import PatientBackend
from agent.api.transport.inside_httpx import use_backend

SIZE = 4 * 1024 * 1024
LEAST_RATE = 200_000.0
TIMEOUTS = Timeouts(5.0, 5.0, 5.0, answer=5.0, least_rate=LEAST_RATE, rate_window=0.5)


class SlowStorage:
    """Takes ``piece`` bytes every ``pause`` seconds, and answers the API's head at once."""

    def __init__(self, piece: int, pause: float) -> None:
        self._piece, self._pause = piece, pause
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.ended = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """End."""
        self.ended.set()
        self._listener.close()

    def _serve(self) -> None:
        try:
            while True:
                wire, _ = self._listener.accept()
                threading.Thread(target=self._take, args=(wire,), daemon=True).start()
        except OSError:
            return

    def _take(self, wire: socket.socket) -> None:
        with wire:
            while not self.ended.wait(self._pause):
                try:
                    data = wire.recv(self._piece)
                except OSError:
                    return
                if not data:
                    return
                if data.startswith(b"HEAD"):
                    wire.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def slow() -> Iterator[SlowStorage]:
    storage = SlowStorage(4096, 0.05)
    yield storage
    storage.close()


@pytest.fixture
def server() -> Iterator[SocketApi]:
    with SocketApi().running() as running:
        yield running


def upload(api: RecordingsApi, target: Any, **more: Any) -> None:
    """Upload ``SIZE`` bytes."""
    api.put(upload_url_for(target), io.BytesIO(bytes(SIZE)), SIZE, **more)


def test_an_upload_below_the_least_rate_ends(slow: SlowStorage) -> None:
    """80 kB a second where 200 are asked for: over within seconds, as an outage of storage that says the rate."""
    began = time.monotonic()
    with client_of(slow, timeouts=TIMEOUTS) as api:  # type: ignore[arg-type]
        with pytest.raises(StorageUnreachable, match="slower than 200000 bytes a second") as caught:
            upload(api, slow)
        assert caught.value.connected
    assert time.monotonic() - began < 15


def test_an_upload_ends_with_the_life_of_its_url(slow: SlowStorage) -> None:
    """However fast it is."""
    with (
        client_of(slow, timeouts=TIMEOUTS._replace(least_rate=1.0)) as api,  # type: ignore[arg-type]
        pytest.raises(StorageUnreachable, match="the life of its URL"),
    ):
        upload(api, slow, life=0.3)


def test_the_owners_own_limit_is_no_slowness_of_the_server(server: SocketApi) -> None:
    """An upload that is held back here, far below the least rate, goes on."""
    server.script(Reply(200, b"", (("ETag", "x"),)))
    with client_of(server, timeouts=TIMEOUTS) as api:
        api.put(
            upload_url_for(server),
            io.BytesIO(bytes(30_000)),
            30_000,
            pace=lambda _size: time.sleep(0.2),
            life=60.0,
        )
    assert len(server.seen[0].body) == 30_000


# the other family


class Families(PatientBackend):
    """A host with an IPv6 address that leads nowhere and an IPv4 one that answers, or the other way round."""

    def __init__(self, dead: set[str], now: list[float]) -> None:
        super().__init__(2.0, resolve=self._resolved, monotonic=lambda: now[0])
        self.dead = dead
        self.tries: list[tuple[str, float | None]] = []

    @staticmethod
    def _resolved(_host: str, port: int, **_kind: object) -> list[Any]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port)),
        ]

    def _connect(
        self, address: str, _port: int, timeout: float | None, *_rest: Any
    ) -> httpcore.NetworkStream:
        self.tries.append((address, timeout))
        if address in self.dead:
            raise httpcore.ConnectTimeout("timed out")
        return httpcore.MockStream([])


def test_the_other_family_is_tried_after_two_seconds_and_remembered() -> None:
    """What worked comes first for ten minutes; then the resolver's order counts again."""
    now = [0.0]
    families = Families({"2001:db8::1"}, now)
    families.connect_tcp("api.example", 443, 10.0)
    families.connect_tcp("api.example", 443, 10.0)
    now[0] = 601.0
    families.connect_tcp("api.example", 443, 10.0)
    dead, good = ("2001:db8::1", 2.0), ("192.0.2.1", 10.0)
    assert families.tries == [dead, good, ("192.0.2.1", 2.0), dead, good]


def test_a_family_that_is_slow_to_answer_gets_its_time_in_the_end() -> None:
    """Two seconds, then the other, then all the time there is; an error when nothing answers."""
    families = Families({"2001:db8::1", "192.0.2.1"}, [0.0])
    with pytest.raises(httpcore.ConnectTimeout):
        families.connect_tcp("api.example", 443, 10.0)
    assert families.tries == [("2001:db8::1", 2.0), ("192.0.2.1", 10.0), ("2001:db8::1", 10.0)]


def test_the_client_really_connects_by_it(server: SocketApi) -> None:
    """Httpx has no parameter for it: this tells when its insides change."""
    asked: list[str] = []

    class Told(PatientBackend):
        def connect_tcp(self, host: str, *rest: Any, **more: Any) -> httpcore.NetworkStream:
            asked.append(host)
            return super().connect_tcp(host, *rest, **more)

    server.script(Reply(200))
    with httpx.Client() as client:
        use_backend(client, Told(2.0))
        client.get(server.url)
    assert asked == ["127.0.0.1"]
