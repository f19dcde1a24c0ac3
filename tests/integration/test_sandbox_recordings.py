"""The sandbox over real sockets: create, token, upload URL, complete."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import hashlib
import re
from typing import Any

import pytest
from sandbox_device import AUDIO, CREATE, TOKEN, Clock, Device, clock, device, error_code, server

from agent.sandbox.faults import Call, Fault
from agent.sandbox.server import SandboxServer


def test_create_answers_201_with_the_recording(device: Device) -> None:
    """A create shows the recording as pending, filed under the token's device and end user."""
    answer = device.create()
    shown = answer.json()
    assert answer.status_code == 201
    assert re.fullmatch(r"rec_[A-Za-z0-9_-]+", shown.pop("id"))
    assert shown.pop("created_at").endswith("Z")
    assert shown == CREATE | {
        "device_id": "dev_sandbox",
        "end_user_id": "eu_sandbox",
        "status": "pending",
        "duration_ms": None,
        "transcription_id": None,
        "media": [],
    }


@pytest.mark.parametrize(
    "change",
    [
        {"device_id": "dev_1"},
        {"end_user_id": None},
        {"name": "x" * 256},
        {"name": 5},
        {"name": None},
        {"started_at": "2026-03-01T10:00:00+00:00"},
        {"started_at": "2026-03-01 10:00:00Z"},
        {"started_at": "2026-02-30T10:00:00Z"},
        {"ended_at": 1772359200},
        {"ended_at": "2026-03-01T09:59:59Z"},
        {"metadata": ["list"]},
        {"metadata": {"text": "x" * 4090}},
        {"unknown": 1},
    ],
    ids=str,
)
def test_create_refuses(device: Device, change: dict[str, Any]) -> None:
    """A create with a forbidden, malformed or unknown field is answered 400 and makes nothing."""
    answer = device.create(CREATE | change)
    assert (answer.status_code, error_code(answer)) == (400, "invalid_request")


def test_create_takes_the_longest_fields(device: Device) -> None:
    """A name of 255 characters and metadata of 4096 bytes are still accepted."""
    metadata = {"t": "x" * (4096 - len(b'{"t":""}'))}
    assert device.create(CREATE | {"name": "ü" * 255, "metadata": metadata}).status_code == 201


def test_bodies_must_be_json_objects(device: Device) -> None:
    """A list, broken JSON, an undeclared or an enormous body are refused."""
    json_type = {"Content-Type": "application/json"}
    for content, headers in ((b"[]", json_type), (b"{", json_type), (b"{}", {"Content-Type": "text/plain"})):
        assert device.http.post("/recordings", content=content, headers=headers).status_code == 400
    assert device.http.post("/recordings", content=b" " * 1_100_000, headers=json_type).status_code == 413


def test_idempotency_key_replays_the_first_answer(
    device: Device, server: SandboxServer, clock: Clock
) -> None:
    """The same key gives the first answer for a day, and 409 with another body."""
    first = device.create(key="0190-a_B")
    device.complete(device.uploaded())
    again = device.create(dict(reversed(CREATE.items())), key="0190-a_B")
    assert (again.status_code, again.json()) == (201, first.json())
    other = device.create(CREATE | {"name": "other"}, key="0190-a_B")
    assert (other.status_code, error_code(other)) == (409, "resource_already_exists")
    assert device.create(key="other-key").json()["id"] != first.json()["id"]
    clock.time += 86_400
    assert device.create(key="0190-a_B").json()["id"] != first.json()["id"]
    assert len(server.state.recordings.by_id) == 4


def test_idempotency_can_be_ignored(device: Device, server: SandboxServer) -> None:
    """With the switch off two creates with one key make two recordings."""
    server.switches.honour_idempotency = False
    assert device.create(key="k").json()["id"] != device.create(key="k").json()["id"]


@pytest.mark.parametrize("key", ["", "a b", "a.b", "x" * 256])
def test_malformed_idempotency_key_is_refused(device: Device, key: str) -> None:
    """A key outside 1 to 255 of A-Za-z0-9_- is answered 400."""
    assert device.create(key=key).status_code == 400


def test_calls_need_a_valid_token(device: Device, server: SandboxServer) -> None:
    """No token, another one, another scheme or a revoked one is answered 401 with a JSON error."""
    for authorization in (None, "Bearer dtok_other", f"Basic {TOKEN}", f"Bearer {TOKEN} x"):
        headers = {"Authorization": authorization} if authorization else {}
        answer = device.plain.post(f"{server.base_url}/recordings", json=CREATE, headers=headers)
        assert (answer.status_code, error_code(answer)) == (401, "unauthorized")
    server.state.devices.revoke(TOKEN)
    assert device.heartbeat().status_code == 401


def test_binding_gives_the_token_its_end_user(device: Device, server: SandboxServer) -> None:
    """A device bound anew has one valid token, and recordings go to the new end user."""
    server.state.devices.bind("dtok_b", end_user_id="eu_b")
    assert device.create().status_code == 401
    device.http.headers["Authorization"] = "Bearer dtok_b"
    assert device.create().json()["end_user_id"] == "eu_b"


def test_refresh_rotates_the_token(device: Device) -> None:
    """A refresh gives a new token and kills the old one; another device, `me` or a body are refused."""
    for name in ("me", "dev_other"):
        assert device.http.post(f"/devices/{name}/token/refresh").status_code == 404
    assert device.http.post("/devices/dev_sandbox/token/refresh", json={}).status_code == 400
    fresh = device.http.post("/devices/dev_sandbox/token/refresh").json()
    assert list(fresh) == ["device_token"]
    assert device.heartbeat().status_code == 401
    device.http.headers["Authorization"] = f"Bearer {fresh['device_token']}"
    assert device.heartbeat().status_code == 200


def test_upload_url_shapes(device: Device, server: SandboxServer, clock: Clock) -> None:
    """The answer has a headers object or a flat content type, with or without a media id."""
    recording_id = device.new_id()
    first = device.upload_url(recording_id).json()
    assert set(first) == {"upload_url", "expires_at", "headers", "media_id"}
    assert first["headers"] == {"Content-Type": "audio/opus"}
    assert first["expires_at"] == "2026-03-01T11:00:00.000Z"
    assert clock.time == 1_772_359_200.0
    server.switches.upload_answer = "content_type"
    server.switches.media_id = False
    second = device.upload_url(recording_id, content_type="audio/ogg").json()
    assert set(second) == {"upload_url", "expires_at", "content_type"}
    assert device.put(second).status_code == 200
    media = server.state.recordings.by_id[recording_id].media
    assert [each.status for each in media] == ["pending", "uploaded"]
    assert (server.objects / media[1].key).read_bytes() == AUDIO
    assert media[1].key == f"{recording_id}/{media[1].id}.ogg"


@pytest.mark.parametrize(
    "change",
    [
        {"type": "video"},
        {"content_type": "audio/mpeg"},
        {"file_size_bytes": 0},
        {"file_size_bytes": "12"},
        {"file_size_bytes": True},
        {"captured_at": "yesterday"},
        {"name": "x"},
    ],
    ids=str,
)
def test_upload_url_refuses(device: Device, change: dict[str, Any]) -> None:
    """A malformed request for an upload URL is answered 400."""
    assert device.upload_url(device.new_id(), **change).status_code == 400


def test_upload_url_needs_a_pending_recording(device: Device, server: SandboxServer) -> None:
    """An unknown or deleted recording is answered 404, an uploaded one 400."""
    assert device.upload_url("rec_none").status_code == 404
    recording_id = device.uploaded()
    device.complete(recording_id)
    assert device.upload_url(recording_id).status_code == 400
    server.state.recordings.delete(recording_id)
    assert device.upload_url(recording_id).status_code == 404


def test_complete_verifies_the_hash(device: Device, clock: Clock) -> None:
    """The strong form answers hash and time, the same again when asked again, and 409 to another hash."""
    recording_id = device.uploaded()
    wrong = device.complete(recording_id, b"other")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (409, "processing_error")
    done = device.complete(recording_id).json()
    assert (done["id"], done["status"], done["duration_ms"]) == (recording_id, "uploaded", 600_000)
    assert done["content_sha256"] == hashlib.sha256(AUDIO).hexdigest()
    assert done["content_sha256_verified_at"] == "2026-03-01T10:00:00.000Z"
    (media,) = done["media"]
    assert (media["type"], media["mime_type"], media["status"]) == ("audio", "audio/opus", "uploaded")
    assert media["file_size_bytes"] == len(AUDIO)
    assert {"key", "object"}.isdisjoint(media)
    clock.time += 60
    assert device.complete(recording_id).json() == done
    assert device.complete(recording_id, b"other").status_code == 409


def test_complete_after_a_mismatch_takes_the_last_upload(device: Device) -> None:
    """After a 409 a fresh URL, PUT and complete succeed, whichever media row came first."""
    recording_id = device.new_id()
    urls = [device.upload_url(recording_id).json() for _ in range(2)]
    device.put(urls[1], b"torn")
    assert device.complete(recording_id).status_code == 409
    device.put(urls[0])
    assert device.complete(recording_id).status_code == 200


def test_complete_by_the_older_contract(device: Device, server: SandboxServer) -> None:
    """The older form answers without hash fields, trusts any hash, and refuses a second complete."""
    server.switches.contract = "older"
    server.switches.sizes_as_text = True
    recording_id = device.uploaded()
    done = device.complete(recording_id, b"other").json()
    assert done["status"] == "uploaded"
    assert {"content_sha256", "content_sha256_verified_at"}.isdisjoint(done)
    assert done["media"][0]["file_size_bytes"] == str(len(AUDIO))
    assert device.complete(recording_id).status_code == 400


def test_complete_can_be_early(device: Device, server: SandboxServer) -> None:
    """Each recording is answered 425 as often as set, then 200 with the status set."""
    server.switches.early_completes = 2
    server.switches.completed_status = "processing"
    for recording_id in (device.uploaded(), device.uploaded()):
        answers = [device.complete(recording_id) for _ in range(3)]
        assert [each.status_code for each in answers] == [425, 425, 200]
        assert answers[-1].json()["status"] == "processing"


def test_complete_refuses(device: Device) -> None:
    """Nothing uploaded and any other body than the hash alone are 400, an unknown recording is 404."""
    assert device.complete(device.new_id()).status_code == 400
    assert device.complete("rec_none").status_code == 404
    recording_id = device.uploaded()
    digest = hashlib.sha256(AUDIO).hexdigest()
    for body in (
        {},
        {"content_sha256": digest.upper()},
        {"content_sha256": digest[1:]},
        {"content_sha256": f"{digest}\n"},
        {"content_sha256": digest, "unknown": 1},
    ):
        answer = device.http.post(f"/recordings/{recording_id}/upload-complete", json=body)
        assert answer.status_code == 400, body


@pytest.mark.parametrize("change", [{"name": "x" * 256}, {"started_at": "yesterday"}, {"device_id": "dev_1"}])
def test_refusals_are_kept_for_their_key(device: Device, clock: Clock, change: dict[str, Any]) -> None:
    """A 4xx is the answer to its key for a day; another body under the key is an error; a new key is free."""
    first = device.create(CREATE | change, key="k")
    again = device.create(CREATE | change, key="k")
    assert (again.status_code, again.text) == (first.status_code, first.text) == (400, first.text)
    assert device.create(key="k").status_code == 409
    assert device.create(key="k2").status_code == 201
    clock.time += 86_400
    assert device.create(key="k").status_code == 201


@pytest.mark.parametrize(("status", "kept"), [(400, True), (404, True), (422, True), (401, False), (403, False),
                                              (408, False), (429, False), (500, False), (503, False)])  # fmt: skip
def test_scripted_answers_are_kept_as_the_api_would(
    device: Device, server: SandboxServer, status: int, kept: bool
) -> None:
    """A scripted refusal is an answer of the API; 5xx, and what is said of the token or the moment, are not kept."""
    server.faults.add(Fault(Call.CREATE, status=status, body={"error": "no"}))
    assert device.create(key="k").status_code == status
    assert device.create(key="k").status_code == (status if kept else 201)


def test_keys_are_the_projects(device: Device, server: SandboxServer) -> None:
    """Another device of the project that uses a key is given the first one's answer."""
    first = device.create(key="k").json()
    server.state.devices.bind("dtok_other", device_id="dev_other", end_user_id="eu_other")
    device.http.headers["Authorization"] = "Bearer dtok_other"
    assert device.create(key="k").json() == first


@pytest.mark.parametrize("name", ["file_size_bytes", "size_bytes", "size"])
def test_a_size_in_complete_is_a_conflict(device: Device, name: str) -> None:
    """The body is the hash alone (api.md section 4)."""
    recording_id = device.new_id()
    answer = device.http.post(
        f"/recordings/{recording_id}/upload-complete", json={"content_sha256": "ab" * 32, name: 5}
    )
    assert answer.status_code == 409
