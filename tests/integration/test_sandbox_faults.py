"""The sandbox over real sockets: scripted faults and the control endpoints."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import hashlib
import json

import httpx
import pytest
from sandbox_device import AUDIO, CLOSED, CREATE, TOKEN, Device, clock, device, object_file, server

from agent.sandbox.faults import Call, Fault
from agent.sandbox.server import SandboxServer


def test_fault_answers_instead_of_the_work(device: Device, server: SandboxServer) -> None:
    """A scripted status with body and headers is given so many times, and nothing is created."""
    server.faults.add(
        Fault(Call.CREATE, times=2, status=503, body={"error": "busy"}, headers={"Retry-After": "7"}),
        Fault(Call.CREATE, status=200, body="<html>Welcome</html>"),
        Fault(Call.CREATE, status=502),
    )
    assert device.heartbeat().status_code == 200
    answers = [device.create() for _ in range(5)]
    assert [each.status_code for each in answers] == [503, 503, 200, 502, 201]
    assert (answers[0].json(), answers[0].headers["Retry-After"]) == ({"error": "busy"}, "7")
    assert (answers[2].text, answers[2].headers["Content-Type"][:9]) == ("<html>Welcome</html>", "text/html")
    assert answers[3].content == b""
    assert len(server.state.recordings.by_id) == 1


def test_fault_may_answer_after_the_work(device: Device, server: SandboxServer) -> None:
    """With `work` the recording is made although the client is told 504."""
    server.faults.add(Fault(Call.CREATE, status=504, work=True))
    assert device.create().status_code == 504
    assert len(server.state.recordings.by_id) == 1


def test_faults_pass_last_and_clear(device: Device, server: SandboxServer) -> None:
    """An empty fault lets a call pass, one without a count lasts until the script is cleared."""
    server.faults.add(Fault(Call.ANY), Fault(Call.ANY, times=None, status=500))
    assert [device.heartbeat().status_code for _ in range(4)] == [200, 500, 500, 500]
    server.faults.clear()
    assert device.heartbeat().status_code == 200


def test_fault_delays(device: Device, server: SandboxServer) -> None:
    """A delay holds the answer back longer than the client waits."""
    server.faults.add(Fault(Call.HEARTBEAT, delay_seconds=5))
    with pytest.raises(httpx.ReadTimeout):
        device.http.post("/devices/me/heartbeat", json={}, timeout=0.05)


def test_drop_before_the_work(device: Device, server: SandboxServer) -> None:
    """The connection closes without an answer, nothing was done, and the log shows no status."""
    server.faults.add(Fault(Call.CREATE, drop="before"), Fault(Call.PUT, drop="before"))
    with pytest.raises(CLOSED):
        device.create(key="k")
    assert not server.state.recordings.by_id
    assert server.requests()[-1]["status"] is None
    recording_id = device.create(key="k").json()["id"]
    answer = device.upload_url(recording_id).json()
    with pytest.raises(CLOSED):
        device.put(answer, bytes(8_000_000))
    assert object_file(server, recording_id) is None


def test_drop_after_the_work(device: Device, server: SandboxServer) -> None:
    """The connection closes without an answer, yet the work of each call is done."""
    for call in (Call.CREATE, Call.PUT, Call.COMPLETE, Call.REFRESH):
        server.faults.add(Fault(call, drop="after"))
    with pytest.raises(CLOSED):
        device.create(key="k")
    (recording_id,) = server.state.recordings.by_id
    assert device.create(key="k").json()["id"] == recording_id
    answer = device.upload_url(recording_id).json()
    with pytest.raises(CLOSED):
        device.put(answer)
    stored = object_file(server, recording_id)
    assert stored
    assert stored.read_bytes() == AUDIO
    with pytest.raises(CLOSED):
        device.complete(recording_id)
    assert server.state.recordings.by_id[recording_id].status == "uploaded"
    with pytest.raises(CLOSED):
        device.http.post("/devices/dev_sandbox/token/refresh")
    assert device.heartbeat().status_code == 401


def test_control_endpoints(device: Device, server: SandboxServer) -> None:
    """Faults, switches, commands and tokens can be set over HTTP, and the state read."""
    control = httpx.Client(base_url=f"{server.origin}/_sandbox")
    recording_id = device.uploaded()
    control.post("/faults", json=[{"call": "heartbeat", "status": 503}, {"call": "put", "times": None}])
    assert device.heartbeat({"flags": 0}).status_code == 503
    control.post("/switches", json={"command_key": "command"})
    control.post("/commands", json={"type": "stop_recording", "expires_in_seconds": 5})
    assert device.heartbeat({"flags": 1}).json()["command"]["type"] == "stop_recording"
    control.post("/tokens", json={"token": "dtok_c", "device_id": "dev_c", "end_user_id": "eu_c"})
    control.request("DELETE", "/tokens", json={"token": TOKEN})
    state = control.get("/state").json()
    assert [each["id"] for each in state["recordings"]] == [recording_id]
    (stored,) = state["objects"]
    assert stored["sha256"] == hashlib.sha256(AUDIO).hexdigest()
    assert (stored["recording_id"], stored["size_bytes"]) == (recording_id, len(AUDIO))
    assert [each["body"] for each in state["heartbeats"]] == [{"flags": 1}]
    assert [(each["device_id"], each["valid"]) for each in state["tokens"]] == [
        ("dev_sandbox", False),
        ("dev_c", True),
    ]
    assert [each["call"] for each in state["faults"]] == ["put"]
    assert state["switches"]["command_key"] == "command"
    assert "dtok_" not in json.dumps(state)
    control.delete("/faults")
    assert not server.faults.pending()
    control.close()


def test_control_refuses_nonsense(device: Device, server: SandboxServer) -> None:
    """A misspelt fault or switch is answered 400 with the reason, and nothing is set."""
    for path, body in (
        ("faults", [{"call": "put"}, {"call": "get"}]),
        ("faults", [{"call": "put", "delay": 1}]),
        ("switches", {"url_seconds": 1, "kontract": "older"}),
        ("switches", {"url_seconds": 1, "contract": "oldest"}),
        ("commands", {}),
    ):
        answer = device.plain.post(f"{server.origin}/_sandbox/{path}", json=body)
        assert answer.status_code == 400
        assert answer.json()["message"]
    assert not server.faults.pending()
    assert server.switches.url_seconds == 3600
