"""The sandbox as a server: what it keeps and writes, TLS, the command."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import asyncio
import contextlib
import hashlib
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click
import httpx
import pytest
from sandbox_device import (
    AUDIO,
    BEARER,
    CLOSED,
    CREATE,
    TOKEN,
    Device,
    clock,
    device,
    object_file,
    sandbox_process,
    server,
)

from agent.cli.sandbox import command as sandbox_command
from agent.errors import AgentError
from agent.sandbox import load_server_class
from agent.sandbox.faults import Call, Fault
from agent.sandbox.server import SandboxServer


def test_restart_continues(device: Device, server: SandboxServer) -> None:
    """After a restart on the same port, URL, recordings, keys and a refreshed token are still good."""
    first = device.create(key="k").json()
    answer = device.upload_url(first["id"]).json()
    token = device.http.post("/devices/dev_sandbox/token/refresh").json()["device_token"]
    server.state.devices.queue_command("trigger_upload")
    torn = server.objects / first["id"] / "x.opus.00.part"
    torn.parent.mkdir()
    torn.touch()
    server.restart()
    assert not torn.exists()
    assert device.heartbeat().status_code == 401
    device.http.headers["Authorization"] = f"Bearer {token}"
    assert device.heartbeat().json()["commands"][0]["type"] == "trigger_upload"
    assert device.create(key="k").json() == first
    assert device.put(answer).status_code == 200
    server.restart()
    assert device.complete(first["id"]).json()["content_sha256"] == hashlib.sha256(AUDIO).hexdigest()


def test_stop_cuts_open_connections(device: Device, server: SandboxServer) -> None:
    """A stop in the middle of a PUT closes the connection and leaves no part of the object."""
    recording_id = device.new_id()
    target = urlsplit(device.upload_url(recording_id).json()["upload_url"])
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as wire:
        head = f"PUT {target.path}?{target.query} HTTP/1.1\r\nHost: x\r\nContent-Type: audio/opus\r\n"
        wire.sendall(f"{head}Content-Length: 100000\r\n\r\n".encode() + AUDIO)
        server.stop()
        with contextlib.suppress(ConnectionResetError):
            assert wire.recv(100) == b""
    assert object_file(server, recording_id) is None
    with pytest.raises(httpx.ConnectError):
        device.plain.get(server.base_url)


def test_stop_does_not_wait_for_a_call_and_is_quiet(
    device: Device, server: SandboxServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """A stop ends a call that is held back, the client sees the connection close, and nothing is printed."""
    server.faults.add(Fault(Call.HEARTBEAT, delay_seconds=60))
    with ThreadPoolExecutor() as pool:
        call = pool.submit(device.heartbeat)
        while server.faults.pending():
            assert not call.done()
        server.stop()
        with pytest.raises(CLOSED):
            call.result(timeout=5)
    assert capfd.readouterr() == ("", "")


def test_request_log_has_no_secret(device: Device, server: SandboxServer) -> None:
    """Each request is a line with path, status and bytes; no token, signature or query is in any file."""
    recording_id = device.create(key="k-1").json()["id"]
    answer = device.upload_url(recording_id).json()
    device.put(answer)
    device.http.post(f"/devices/{TOKEN}/token/refresh")
    lines = server.requests()
    assert [(each["method"], each["status"]) for each in lines] == [
        ("POST", 201),
        ("POST", 200),
        ("PUT", 200),
        ("POST", 404),
    ]
    assert lines[0]["headers"]["idempotency-key"] == "k-1"
    assert lines[0]["credential"] == f"Bearer {hashlib.sha256(TOKEN.encode()).hexdigest()[:12]}"
    assert (lines[2]["bytes"], lines[2]["credential"]) == (len(AUDIO), None)
    assert lines[2]["path"] == urlsplit(answer["upload_url"]).path
    signature = parse_qs(urlsplit(answer["upload_url"]).query)["X-Amz-Signature"][0]
    for path in (server.directory / "requests.jsonl", server.directory / "recordings.json"):
        assert TOKEN not in path.read_text()
        assert signature not in path.read_text()
    assert "?" not in (server.directory / "requests.jsonl").read_text()


def test_foreign_state_is_one_sentence(tmp_path: Path) -> None:
    """A directory with another recordings.json, or that is a file, is refused with what to do."""
    (tmp_path / "recordings.json").write_text("[]")
    with pytest.raises(AgentError, match="not the state of a sandbox"):
        SandboxServer(tmp_path)
    with pytest.raises(AgentError, match="choose another --directory"):
        SandboxServer(tmp_path / "recordings.json")


def test_taken_port_is_one_sentence(server: SandboxServer, tmp_path: Path) -> None:
    """A port in use is named with what to do."""
    with pytest.raises(AgentError, match=f"port {server.port} .* choose another --port"):
        SandboxServer(tmp_path / "second", port=server.port).start()


def test_saved_state_is_private_and_atomic(device: Device, server: SandboxServer) -> None:
    """recordings.json is its owner's only and complete after each call, and no temporary file stays."""
    recording_id = device.new_id()
    path = server.directory / "recordings.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(json.loads(path.read_text())["recordings"]) == [recording_id]
    assert not list(server.directory.glob("*.tmp"))


def test_tls_with_its_own_authority(tmp_path: Path) -> None:
    """With TLS an agent that trusts ca.pem can deliver, before and after a restart, and no other can."""
    with SandboxServer(tmp_path, tls=True) as server:
        assert server.base_url.startswith("https://127.0.0.1:")
        device = Device(server)
        recording_id = device.uploaded()
        server.restart()
        assert device.complete(recording_id).status_code == 200
        server.faults.add(Fault(Call.HEARTBEAT, drop="after"))
        with pytest.raises(CLOSED):
            device.heartbeat()
        device.close()
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(server.base_url)


def test_tls_is_on_beyond_loopback(tmp_path: Path) -> None:
    """A host that others can reach is served with https only, and loopback still fits its certificate."""
    with SandboxServer(tmp_path, host="0.0.0.0") as server:  # noqa: S104 - the point of the test
        assert server.base_url == f"https://{socket.gethostname()}:{server.port}/v1"
        verify = ssl.create_default_context(cafile=server.ca_file)
        assert httpx.get(f"https://127.0.0.1:{server.port}/v1", verify=verify).status_code == 200


def test_control_is_for_this_machine_only(tmp_path: Path) -> None:
    """A caller from another address gets 403 from the control endpoints."""
    server = SandboxServer(tmp_path)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def serve() -> None:
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/_sandbox/state",
            "headers": [],
            "query_string": b"",
        }
        addresses = {"client": ("192.0.2.7", 5000), "server": ("192.0.2.1", 8787)}
        await server.build()(scope | addresses, receive, send)

    asyncio.run(serve())
    assert sent[0]["status"] == 403


def test_command_introduces_itself_and_shows_requests(tmp_path: Path) -> None:
    """The command prints how to point an agent at it, a line per request, and ends on a signal with 0."""
    with sandbox_process(tmp_path) as (process, base_url):
        httpx.post(f"{base_url}/devices/me/heartbeat", json={}, headers=BEARER)
        process.send_signal(signal.SIGTERM)
        assert process.stdout
        output = process.stdout.read()
        assert process.wait(timeout=10) == 0
    assert f'base_url = "{base_url}"' in output
    assert f"echo {TOKEN} | recorder-agent --config config.toml token set" in output
    assert re.search(r"Z POST /v1/devices/me/heartbeat 200 2$", output, re.MULTILINE)


def test_a_killed_process_continues(tmp_path: Path) -> None:
    """After SIGKILL the next process knows the recording that was answered."""
    with sandbox_process(tmp_path) as (_, base_url):
        recording_id = httpx.post(f"{base_url}/recordings", json=CREATE, headers=BEARER).json()["id"]
    with SandboxServer(tmp_path) as server:
        assert list(server.state.recordings.by_id) == [recording_id]


def test_missing_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without starlette the command says what to install."""
    monkeypatch.delitem(sys.modules, "agent.sandbox.server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(AgentError, match=r"pip install 'recorder-agent\[sandbox\]'"):
        load_server_class()


def test_the_command_imports_no_extra() -> None:
    """Importing the command, loads neither starlette nor uvicorn, and each option has help."""
    code = "import sys, agent.cli.sandbox; print({'starlette', 'uvicorn', 'trustme'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    assert all(isinstance(each, click.Option) and each.help for each in sandbox_command.params)
