"""The sandbox over real sockets: heartbeats, commands, rate limits, shapes of errors."""

# ruff: noqa: F401, F811 - fixtures are imported by name

from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from sandbox_device import Clock, Device, clock, device, error_code, server

from agent.sandbox.server import SandboxServer
from agent.sandbox.web.answers import ErrorShape


def test_heartbeat_takes_known_fields(device: Device, server: SandboxServer) -> None:
    """A full heartbeat is answered ok and kept for the oracle."""
    body = {
        "battery_percent": 55,
        "storage_used_mb": 12.5,
        "storage_total_mb": 29000,
        "signal_strength_dbm": -61,
        "firmware_version": "recorder-agent/0.1.0",
        "device_name": "kitchen",
        "device_state": "recording",
        "pending_recordings": 3,
        "flags": 41,
        "connection_type": ["wifi"],
    }
    assert device.heartbeat(body).json() == {"status": "ok"}
    assert server.state.devices.heartbeats[-1].body == body


@pytest.mark.parametrize(
    "body",
    [
        {"battery_percent": 101},
        {"battery_percent": None},
        {"battery_percent": "50"},
        {"flags": 1.5},
        {"flags": True},
        {"firmware_version": "x" * 33},
        {"device_name": "x" * 65},
        {"device_state": "listening"},
        {"pending_recordings": -1},
        {"connection_type": "wifi"},
        {"connection_type": ["ethernet"]},
        {"uptime": 1},
    ],
    ids=str,
)
def test_heartbeat_refuses(device: Device, body: dict[str, Any]) -> None:
    """A field that is unknown, null, of another type or out of range is answered 400."""
    assert device.heartbeat(body).status_code == 400


@pytest.mark.parametrize("key", ["commands", "pending_commands"])
def test_commands_are_handed_out_as_a_list(device: Device, server: SandboxServer, key: str) -> None:
    """Queued commands come with the next heartbeat under the chosen key, and again if so set."""
    server.state.set_switches({"command_key": key, "command_handouts": 2})
    server.state.devices.queue_command("start_recording", {"max_duration_sec": 60})
    server.state.devices.queue_command("trigger_upload", expires_in_seconds=-1)
    server.state.devices.queue_command("stop_recording", device_id="dev_other")
    answer = device.heartbeat().json()
    assert set(answer) == {"status", key}
    start, trigger = answer[key]
    assert start["id"].startswith("cmd_")
    assert start["grant_token"]
    assert (start["type"], start["params"]) == ("start_recording", {"max_duration_sec": 60})
    assert (start["device_id"], start["expires_at"]) == ("dev_sandbox", "2026-03-01T10:05:00.000Z")
    assert trigger["expires_at"] == "2026-03-01T09:59:59.000Z"
    assert device.heartbeat().json() == answer
    assert device.heartbeat().json() == {"status": "ok"}


def test_commands_can_be_handed_out_one_by_one(device: Device, server: SandboxServer) -> None:
    """Under the key `command` each heartbeat carries one object."""
    server.switches.command_key = "command"
    for kind in ("start_recording", "dance"):
        server.state.devices.queue_command(kind)
    answers = [device.heartbeat().json() for _ in range(3)]
    assert [each.get("command", {}).get("type") for each in answers] == ["start_recording", "dance", None]


def test_rate_limit_of_requests(device: Device, server: SandboxServer, clock: Clock) -> None:
    """A full window is answered 429 with the seconds left, and the next window is open again."""
    server.switches.requests_per_minute = 2
    clock.time += 18
    remaining = [device.heartbeat().headers["X-RateLimit-Remaining"] for _ in range(2)]
    refused = device.heartbeat()
    assert remaining == ["1", "0"]
    assert (refused.status_code, error_code(refused)) == (429, "rate_limit_exceeded")
    assert refused.headers["Retry-After"] == "42"
    assert refused.headers["X-RateLimit-Limit"] == "2"
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert refused.headers["X-RateLimit-Reset"] == str(1_772_359_200 + 60)
    server.state.set_switches({"rate_limit_reset": "seconds", "retry_after": False})
    refused = device.heartbeat()
    assert refused.headers["X-RateLimit-Reset"] == "42"
    assert "Retry-After" not in refused.headers
    clock.time += 42
    assert device.heartbeat().status_code == 200


def test_rate_limit_of_upload_urls(device: Device, server: SandboxServer) -> None:
    """Upload URLs have a window of their own, which the other calls do not use up."""
    server.state.set_switches({"upload_urls_per_minute": 1, "requests_per_minute": 100})
    recording_id = device.new_id()
    assert [device.upload_url(recording_id).status_code for _ in range(2)] == [200, 429]
    assert device.heartbeat().headers["X-RateLimit-Remaining"] == "97"
    server.switches.rate_limit_headers = False
    assert "X-RateLimit-Remaining" not in device.heartbeat().headers
    assert "Retry-After" in device.upload_url(recording_id).headers


@pytest.mark.parametrize("shape", list(ErrorShape))
def test_error_bodies_have_every_shape(device: Device, server: SandboxServer, shape: ErrorShape) -> None:
    """Errors come in each shape that servers use, with the same status."""
    server.switches.error_shape = shape
    answer = device.complete("rec_none")
    assert answer.status_code == 404
    words = "There is no such recording."
    if shape is ErrorShape.HTML:
        assert answer.headers["Content-Type"].startswith("text/html")
    elif shape is ErrorShape.EMPTY:
        assert answer.content == b""
    elif shape is ErrorShape.MESSAGE:
        assert answer.json() == {"message": words}
    elif shape is ErrorShape.TEXT:
        assert answer.json() == {"error": words}
    else:
        named = {"code": {"code", "details"}, "type": {"type"}, "request": {"code", "param", "request_id"}}
        assert set(answer.json()["error"]) == named[shape] | {"message"}
        assert answer.json()["error"]["message"] == words


def test_every_answer_has_the_sandbox_date(device: Device, server: SandboxServer, clock: Clock) -> None:
    """HEAD and GET of the base URL need no token, and they and errors carry the sandbox's time."""
    for path in ("", "/", "/nothing"):
        for method in ("HEAD", "GET"):
            answer = device.plain.request(method, server.base_url + path)
            assert answer.status_code == (404 if path == "/nothing" else 200)
            assert parsedate_to_datetime(answer.headers["Date"]).timestamp() == clock.time
            assert len(answer.headers.get_list("Date")) == 1
