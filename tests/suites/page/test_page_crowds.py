"""Crowds and slow clients at the page: each is refused or cut, and the next one is answered."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import contextlib
import socket
import time
from pathlib import Path

import pytest
from fake_recorder import FakeRecorder
from page_site import Site_, page, recorder


def test_two_hundred_connections_hold_up_nobody(page: Site_, recorder: FakeRecorder) -> None:
    """Silent ones make room for one that asks; and however many ask, the recorder is asked seldom."""
    site = page()
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            client = stack.enter_context(socket.create_connection((site.host, site.port), 5))
            client.sendall(b"GET / HT")
        began = time.monotonic()
        assert site.ask("/")[0] == 200
        assert time.monotonic() - began < 5
        descriptors = len(list(Path(f"/proc/{site.process.pid}/fd").iterdir()))
        assert descriptors < 64
    recorder.asked.clear()
    began = time.monotonic()
    for _ in range(60):
        assert site.ask("/now")[0] == 200
    assert len(recorder.asked) <= 3 + 2 * (time.monotonic() - began)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nContent-Length: 999\r\n\r\n",
    ],
)
def test_a_slow_client_is_cut(page: Site_, head: bytes) -> None:
    """A byte a second, of a head or of a form, is no request: within some seconds it is over."""
    site = page()
    with socket.create_connection((site.host, site.port), 5) as client:
        client.sendall(head)
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 20:
                client.sendall(b"x")
                client.settimeout(0.5)
                try:
                    if client.recv(100) == b"":
                        break
                    if head:
                        break  # an answer: the form was not waited for
                except TimeoutError:
                    continue
        assert time.monotonic() - began < 14
    assert site.ask("/now")[0] == 200
