"""The sandbox over real sockets: presigned PUTs, taken and refused."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import hashlib
import os
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from sandbox_device import (
    AUDIO,
    BEARER,
    CREATE,
    Clock,
    Device,
    clock,
    device,
    high_water_kib,
    object_file,
    sandbox_process,
    server,
)

from agent.sandbox.server import SandboxServer


def test_put_stores_and_gives_the_md5_as_etag(device: Device, server: SandboxServer) -> None:
    """A PUT is answered 200 with a quoted MD5; a second one to the same URL takes its place."""
    recording_id = device.new_id()
    answer = device.upload_url(recording_id).json()
    for audio in (b"first", AUDIO):
        stored = device.put(answer, audio)
        assert stored.headers["ETag"] == f'"{hashlib.md5(audio).hexdigest()}"'  # noqa: S324 - S3's ETag is one
    (only,) = (server.objects / recording_id).iterdir()
    assert only.read_bytes() == AUDIO


def storage_code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"].startswith("application/xml")
    found = re.search("<Code>(.*)</Code>", answer.text)
    assert found
    return answer.status_code, found[1]


def test_put_refusals(device: Device, server: SandboxServer, clock: Clock) -> None:
    """The storage refuses as S3 does what is forged, expired, unsigned, signed twice or of unknown length."""
    recording_id = device.new_id()
    answer = device.upload_url(recording_id).json()
    url, right = answer["upload_url"], answer["headers"]
    key = urlsplit(url).path.removeprefix("/storage/")

    def put(url: str = url, headers: dict[str, str] = right, **body: Any) -> tuple[int, str]:
        return storage_code(device.plain.put(url, headers=headers, **(body or {"content": AUDIO})))

    assert put(headers={"Content-Type": "audio/ogg"}) == (403, "SignatureDoesNotMatch")
    assert put(headers={}) == (403, "SignatureDoesNotMatch")
    assert put(url.replace(key, key.replace("med_", "med_x"))) == (403, "SignatureDoesNotMatch")
    assert put(url.replace("X-Amz-Expires=3600", "X-Amz-Expires=9999")) == (403, "SignatureDoesNotMatch")
    assert put(url.replace("X-Amz-Signature=", "X-Amz-Signature=0")) == (403, "SignatureDoesNotMatch")
    assert put(url.replace("X-Amz-Signature=", "X-Amz-Signature=%C3%A9")) == (403, "SignatureDoesNotMatch")
    assert put(url.partition("?")[0]) == (403, "AccessDenied")
    assert put(headers=right | BEARER) == (400, "InvalidArgument")
    assert put(content=iter([AUDIO])) == (501, "NotImplemented")
    clock.time += 3600
    refused = device.plain.put(url, headers=right, content=AUDIO)
    assert storage_code(refused) == (403, "AccessDenied")
    assert "expired" in refused.text
    assert not (server.objects / recording_id).exists()


def raw_put(server: SandboxServer, url: str, headers: str, body: bytes) -> bytes:
    """Send a PUT byte by byte as given, say that no more follows, and return the whole answer."""
    target = urlsplit(url)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as wire:
        head = f"PUT {target.path}?{target.query} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n"
        wire.sendall(head.encode() + body)
        wire.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: wire.recv(65536), b""))


def test_put_without_length_is_refused(device: Device, server: SandboxServer) -> None:
    """A PUT that names neither length nor encoding is answered 411."""
    url = device.upload_url(device.new_id()).json()["upload_url"]
    answer = raw_put(server, url, "Content-Type: audio/opus\r\n", b"")
    assert answer.startswith(b"HTTP/1.1 411 ")
    assert b"<Code>MissingContentLength</Code>" in answer


def test_short_put_stores_nothing(device: Device, server: SandboxServer) -> None:
    """A body that stops before its length leaves no object and no temporary file."""
    recording_id = device.new_id()
    url = device.upload_url(recording_id).json()["upload_url"]
    assert raw_put(server, url, "Content-Type: audio/opus\r\nContent-Length: 100000\r\n", AUDIO) == b""
    server.stop()
    assert object_file(server, recording_id) is None
    assert server.requests()[-1] | {"status": None, "bytes": len(AUDIO)} == server.requests()[-1]


def test_storage_url_can_be_overridden(tmp_path: Path) -> None:
    """Upload URLs may name another host than the API's, with the signature unchanged."""
    server = SandboxServer(tmp_path)
    server.storage_url = "http://storage.invalid/storage"
    with server:
        device = Device(server)
        answer = device.upload_url(device.new_id()).json()
        assert answer["upload_url"].startswith("http://storage.invalid/storage/rec_")
        answer["upload_url"] = answer["upload_url"].replace("storage.invalid", f"127.0.0.1:{server.port}")
        assert device.put(answer).status_code == 200
        device.close()


def test_a_large_put_takes_no_memory(tmp_path: Path) -> None:
    """100 MB go to the disk while the server's memory grows by less than 8 MB."""
    size, chunk = 100_000_000, os.urandom(1_000_000)
    with sandbox_process(tmp_path) as (process, base_url):
        api = httpx.Client(base_url=base_url, headers=BEARER, timeout=30)
        recording_id = api.post("/recordings", json=CREATE).json()["id"]
        body = {"type": "audio", "content_type": "audio/ogg", "file_size_bytes": size}
        answer = api.post(f"/recordings/{recording_id}/upload-url", json=body).json()
        before = high_water_kib(process)
        headers = answer["headers"] | {"Content-Length": str(size)}
        stored = httpx.put(answer["upload_url"], content=iter([chunk] * 100), headers=headers, timeout=30)
        api.close()
        assert stored.status_code == 200
        assert high_water_kib(process) - before < 8_000
    (only,) = (tmp_path / "objects" / recording_id).iterdir()
    assert only.stat().st_size == size
