"""A device's plain client for the sandbox, with the fixtures of its tests."""

import contextlib
import hashlib
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.sandbox.server import SandboxServer

TOKEN = "dtok_sandbox"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
AUDIO = b"OggS" + bytes(range(256)) * 40
CREATE = {
    "name": "kitchen",
    "started_at": "2026-03-01T10:00:00.250Z",
    "ended_at": "2026-03-01T10:10:00.250Z",
    "metadata": {"client_recording_id": "abc", "segment": 1},
}
CLOSED = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


class Clock:
    """The sandbox's time, moved by hand."""

    def __init__(self) -> None:
        self.time = 1_772_359_200.0

    def __call__(self) -> float:
        """Return the Unix time."""
        return self.time


class Device:
    """A plain client of the API, written from api.md."""

    def __init__(self, server: SandboxServer) -> None:
        # Plain http has nothing to verify, and loading the system's authorities takes 30 ms.
        verify = ssl.create_default_context(cafile=server.ca_file) if server.ca_file else False
        self.http = httpx.Client(base_url=server.base_url, headers=BEARER, verify=verify, timeout=10)
        self.plain = httpx.Client(verify=verify, timeout=10)

    def close(self) -> None:
        """Close both clients."""
        self.http.close()
        self.plain.close()

    def create(self, body: dict[str, Any] | None = None, key: str | None = None) -> httpx.Response:
        """Create a recording."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        return self.http.post("/recordings", json=CREATE if body is None else body, headers=headers)

    def new_id(self) -> str:
        """Create a recording and return its id."""
        return str(self.create().json()["id"])

    def upload_url(self, recording_id: str, **changes: object) -> httpx.Response:
        """Ask for an upload URL."""
        body = {"type": "audio", "content_type": "audio/opus", "file_size_bytes": len(AUDIO)}
        return self.http.post(f"/recordings/{recording_id}/upload-url", json=body | changes)

    def put(self, answer: dict[str, Any], audio: bytes = AUDIO) -> httpx.Response:
        """PUT audio as the upload URL says."""
        headers = answer.get("headers") or {"Content-Type": answer["content_type"]}
        return self.plain.put(answer["upload_url"], content=audio, headers=headers)

    def uploaded(self) -> str:
        """Create a recording, upload its audio and return its id."""
        recording_id = self.new_id()
        assert self.put(self.upload_url(recording_id).json()).status_code == 200
        return recording_id

    def complete(self, recording_id: str, audio: bytes = AUDIO) -> httpx.Response:
        """Complete an upload with the hash of this audio."""
        body = {"content_sha256": hashlib.sha256(audio).hexdigest()}
        return self.http.post(f"/recordings/{recording_id}/upload-complete", json=body)

    def heartbeat(self, body: dict[str, Any] | None = None) -> httpx.Response:
        """Send a heartbeat."""
        return self.http.post("/devices/me/heartbeat", json=body or {})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(tmp_path: Path, clock: Clock) -> Iterator[SandboxServer]:
    with SandboxServer(tmp_path / "sandbox", now=clock) as running:
        yield running


@pytest.fixture
def device(server: SandboxServer) -> Iterator[Device]:
    device = Device(server)
    yield device
    device.close()


def error_code(answer: httpx.Response) -> str:
    """Return the code of a JSON error."""
    return str(answer.json()["error"]["code"])


def object_file(server: SandboxServer, recording_id: str) -> Path | None:
    """Return the file of a recording, None when nothing is stored."""
    return next((server.objects / recording_id).glob("*"), None)


@contextlib.contextmanager
def sandbox_process(directory: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command in a process of its own; yield it and its base URL."""
    code = "from agent.cli.sandbox import command; command()"
    arguments = [sys.executable, "-c", code, "--port", "0", "--directory", str(directory)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        found = re.search(r"http://\S+/v1", process.stdout.readline())
        assert found
        try:
            yield process, found[0]
        finally:
            process.kill()


def high_water_kib(process: subprocess.Popen[str]) -> int:
    """Return the most memory a process has had, in KiB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
    assert found
    return int(found[1])
