"""Calls that break while they are under way: cut, stalled, dribbled, unreadable files, aborted."""

import errno
import io
import os
import socket
import threading
import time

import pytest
import trustme
from api_bench import (
    PATIENT,
    SHORT,
    TOKEN,
    Secret,
    StillClock,
    call,
    client_of,
    everything_said_by,
    server,
    upload_url_for,
)
from outages import CREATED, MEGABYTES, TAG, api, authority, ca_file, offline, tls_of, unreachable
from socket_api import Reply, SocketApi, as_json, tunnel

from agent.api.client import RecordingsApi, Timeouts
from agent.api.errors import Aborted, ApiFailure, OfflineKind, UnreadableFile, UploadRefused
from agent.api.transport.alarms import Alarms
from agent.api.transport.socket_tracker import SocketTracker
from agent.config.schema import ApiConfig

__all__ = ["api", "authority", "ca_file", "server"]

# cut and stalled

ANSWER = b'{"id": "rec_1"}'


@pytest.mark.parametrize("what", ["create", "put"])
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(drop="before"), OfflineKind.RESET),
        (Reply(drop="before", reset=True), OfflineKind.RESET),
        (Reply(drop="after"), OfflineKind.RESET),
        (Reply(drop="after", reset=True), OfflineKind.RESET),
        (Reply(stall="answer"), OfflineKind.TIMEOUT),
        (Reply(201, ANSWER, TAG, stall="middle"), OfflineKind.TIMEOUT),
        (Reply(201, ANSWER, TAG, length=500), OfflineKind.TIMEOUT),
        (Reply(201, ANSWER, TAG, dribble=0.05), OfflineKind.TIMEOUT),
        (Reply(201, ANSWER, TAG, length=500, close=True), OfflineKind.RESET),
        (Reply(status=201, headers=(("Content-Length", "1"), ("Content-Length", "2"))), OfflineKind.RESET),
        (Reply(status=201, headers=(("X-Long", "y" * 300_000),)), OfflineKind.RESET),
    ],
)
def test_a_call_that_is_cut_or_stalled(
    server: SocketApi, api: RecordingsApi, what: str, reply: Reply, kind: OfflineKind
) -> None:
    """Whatever breaks between request and answer is an outage, in good time, and the next call works.

    Where storage breaks it and the API can be reached, it is an outage of storage.
    """
    server.script(reply, CREATED)
    began = time.monotonic()
    if what == "put":  # the script's next answer to the question whether the API is there
        assert unreachable(lambda: call(api, what, server, io.BytesIO(b"abc"))).exit_code == 75
        server.script(CREATED)
    else:
        assert offline(lambda: call(api, what, server)).kind is kind
    assert time.monotonic() - began < 4
    assert call(api, "create", server)


@pytest.mark.parametrize("at", [1, 12, 20, 40, 80, 90])
def test_an_answer_cut_at_any_byte_is_no_answer(server: SocketApi, api: RecordingsApi, at: int) -> None:
    """A create whose answer was cut in its status line, its headers or its body is not created."""
    reply = as_json({"id": "rec_1"}, 201)
    server.script(Reply(reply.status, reply.body, reply.headers, cut_at=at))
    assert offline(lambda: call(api, "create", server)).kind is OfflineKind.RESET


def test_a_huge_body_is_not_read_to_its_end(server: SocketApi, api: RecordingsApi) -> None:
    """Of 64 MiB announced, little more than the cap is taken."""
    server.script(Reply(200, b"x" * 3_000_000, length=64 * 1024 * 1024))
    assert offline(lambda: call(api, "create", server)).kind is OfflineKind.PORTAL


@pytest.mark.parametrize("by_proxy", [False, True])
def test_an_upload_may_take_longer_than_an_answer(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch, by_proxy: bool
) -> None:
    """Neither an earlier answer's deadline nor that of a proxy's CONNECT cuts a PUT that is under way."""
    with SocketApi(tls=tls_of(authority, "127.0.0.1", -5, 5)).running() as server, tunnel() as proxy:
        if by_proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        server.script(*[Reply(200, b"", TAG)] * 2)
        with client_of(server, ca_file=ca_file, timeouts=Timeouts(5.0, 5.0, 5.0, answer=0.5)) as api:
            for _ in range(2):
                api.put(upload_url_for(server), io.BytesIO(bytes(20_000)), 20_000, pace=slowly)
        assert [len(seen.body) for seen in server.seen] == [20_000, 20_000]
        assert proxy.tunnels == by_proxy
        assert all(TOKEN.encode() not in seen.head for seen in server.seen)


def slowly(_length: int) -> None:
    """Be a throttle that lets 20 kB take 0.75 s."""
    time.sleep(0.15)


# the PUT's own troubles


def test_a_file_shorter_than_recorded(server: SocketApi, api: RecordingsApi) -> None:
    """The PUT ends with an error of the file, not with a server waiting for the rest."""
    server.script(Reply(200, b"", (("ETag", "x"),)))
    with pytest.raises(UnreadableFile, match="3 of 10"):
        api.put(upload_url_for(server), io.BytesIO(b"abc"), 10)


class BrokenFile(io.BytesIO):
    """A file on a card that fails."""

    def read(self, _size: int | None = -1) -> bytes:
        """Fail as the kernel does."""
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_file_that_cannot_be_read(server: SocketApi, api: RecordingsApi) -> None:
    """An I/O error is one of the file, not of the network."""
    server.script(Reply(200, b"", TAG))
    with pytest.raises(UnreadableFile, match=r"cannot be read \(Input/output error\)"):
        api.put(upload_url_for(server), BrokenFile(), 10)


def test_an_early_403_is_a_403(server: SocketApi, api: RecordingsApi) -> None:
    """Storage that refuses while we still send is understood, not taken for a broken connection."""
    server.script(Reply(403, b"<Error><Code>AccessDenied</Code></Error>", early=True))
    with pytest.raises(UploadRefused, match="AccessDenied"):
        api.put(upload_url_for(server), io.BytesIO(bytes(MEGABYTES)), MEGABYTES)


def test_a_put_nobody_reads_times_out(server: SocketApi, api: RecordingsApi) -> None:
    """A line that takes no more bytes ends by the write time-out, and little of the file was called sent."""
    server.script(Reply(stall="body"))
    progress = [0]
    unreachable(
        lambda: api.put(upload_url_for(server), io.BytesIO(bytes(MEGABYTES)), MEGABYTES, progress.append)
    )
    assert progress[-1] < MEGABYTES


def test_bytes_called_sent_are_nearly_on_the_line() -> None:
    """With a peer that reads nothing, well under a megabyte is handed to the kernel."""
    with SocketApi(receive_buffer=4096).running() as server, client_of(server, timeouts=SHORT) as api:
        server.script(Reply(stall="body"))
        progress = [0]
        unreachable(
            lambda: api.put(upload_url_for(server), io.BytesIO(bytes(MEGABYTES)), MEGABYTES, progress.append)
        )
    assert progress[-1] <= 256 * 1024


# abort


@pytest.mark.parametrize("how", ["abort", "close"])
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    ("what", "reply"),
    [
        ("put", Reply(stall="body")),
        ("put", Reply(stall="answer")),
        ("create", Reply(stall="answer")),
        ("create", Reply(status=200, body=b"x" * 99, stall="middle")),
    ],
)
def test_abort_ends_a_stalled_call_at_once(
    authority: trustme.CA, ca_file: str, what: str, reply: Reply, tls: bool, how: str
) -> None:
    """From another thread, with time-outs of 30 s, a stalled call ends within a second and says why."""
    context = tls_of(authority, "127.0.0.1", -5, 5) if tls else None
    with (
        SocketApi(tls=context).running() as server,
        client_of(server, ca_file=ca_file, timeouts=PATIENT) as api,
    ):
        server.script(reply)
        caught: list[ApiFailure] = []

        def run() -> None:
            try:
                if what == "put":
                    api.put(upload_url_for(server), io.BytesIO(bytes(MEGABYTES)), MEGABYTES)
                call(api, "create", server)
            except ApiFailure as failure:
                caught.append(failure)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        assert server.arrived.wait(5)
        time.sleep(0.05)
        began = time.monotonic()
        getattr(api, how)()
        thread.join(5)
        assert time.monotonic() - began < 1
        assert [type(failure) for failure in caught] == [Aborted]
        with pytest.raises(Aborted):
            call(api, "create", server)
        assert TOKEN not in everything_said_by(caught[0])


def test_abort_ends_a_tls_handshake(ca_file: str) -> None:
    """A server that accepts and then says nothing does not hold up the end."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        api = RecordingsApi(ApiConfig(base_url=url, ca_file=ca_file), Secret, StillClock(), timeouts=PATIENT)
        caught: list[ApiFailure] = []

        def run() -> None:
            try:
                api.heartbeat({})
            except ApiFailure as failure:
                caught.append(failure)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        connection, _ = listener.accept()
        with connection:
            connection.recv(1)
            began = time.monotonic()
            api.close()
            thread.join(5)
        assert time.monotonic() - began < 1
        assert [type(failure) for failure in caught] == [Aborted]


def test_a_connection_made_during_an_abort_is_cut_too() -> None:
    """The abort that came while a connection was being made reaches it as soon as it is there."""
    near, far = socket.socketpair()
    with near, far:
        wires = SocketTracker(1.0, None, Alarms("test"))
        wires.abort()
        wires.trace("connection.connect_tcp.complete", {"return_value": Stream(near)})
        far.settimeout(1)
        assert far.recv(1) == b""


@pytest.mark.parametrize(("own", "is_cut"), [("127.0.0.2", True), ("127.0.0.1", False)])
def test_a_call_ends_when_the_way_begins_at_another_address(own: str, is_cut: bool) -> None:
    """After the route has moved no answer reaches the old address: the call does not wait its whole time for one."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), source_address=(own, 0)) as near,
        listener.accept()[0] as far,
    ):
        wires = SocketTracker(1.0, None, Alarms("test"))
        wires.trace("connection.connect_tcp.complete", {"return_value": Stream(near)})
        wires.cut_stranded()
        far.settimeout(0.2)
        if is_cut:
            assert far.recv(1) == b""
        else:
            with pytest.raises(TimeoutError):
                far.recv(1)


class Stream:
    """What httpcore hands out for a connection."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire

    def get_extra_info(self, name: str) -> socket.socket | None:
        """Return the socket."""
        return self._wire if name == "socket" else None
