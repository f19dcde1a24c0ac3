"""What the matrix's server knows: recordings, media, stored bytes; a second reading of api.md, sharing no code.

Two contracts. ``older``: the Idempotency-Key is honoured, the upload URL comes with ``headers``, complete answers
without a hash and with 400 the second time. ``newer``: the key is ignored, ``content_type`` is flat, complete
answers with the verified hash, as often as it is asked.
"""

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

TOKEN = "dtok_matrix-0123456789"
NEXT_TOKEN = "dtok_matrix-next-0123456789"
AFRESH = "dtok_matrix-by-a-person"
BEARERS = {f"Bearer {token}" for token in (TOKEN, NEXT_TOKEN, AFRESH)}

Work = Callable[[str, dict[str, str], bytes], tuple[int, Any]]
"""What a call does: the id in its path, its headers, its body; status and JSON."""


@dataclass
class Recording:
    """One recording of the server."""

    id: str
    client_id: str
    media: list[str] = field(default_factory=list)
    stored: list[bytes] = field(default_factory=list)
    """Each body that was PUT, in order; the last one counts."""
    completed: str | None = None
    """The hash it was completed with."""


@dataclass
class Exchange:
    """One request that reached the server, and what it was answered with."""

    at: float
    call: str
    recording: str
    answer: str


@dataclass
class Book:
    """All of it, and what was wrong with the requests (``findings``)."""

    contract: str
    storage: str = ""
    token: str = TOKEN
    """The one that is alive."""
    recordings: dict[str, Recording] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    """By Idempotency-Key: the body of its first create."""
    refused: dict[str, bytes] = field(default_factory=dict)
    """By Idempotency-Key, in the older contract: the refusal that it meets again for a day."""
    keys: dict[str, str] = field(default_factory=dict)
    exchanges: list[Exchange] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def work(self, call: str, name: str, head: dict[str, str], body: bytes) -> tuple[int, Any]:
        """Do what a healthy server does; return its status and JSON answer (of a PUT: its ETag)."""
        works: dict[str, Work] = {
            "create": self._create,
            "url": self._url,
            "put": self._put,
            "complete": self._complete,
            "heartbeat": self._heartbeat,
            "refresh": self._refresh,
        }
        with self.lock:
            return works[call](name, head, body)

    def _create(self, _name: str, head: dict[str, str], body: bytes) -> tuple[int, Any]:
        given = json.loads(body)
        key, client_id = head.get("idempotency-key", ""), given["metadata"]["client_recording_id"]
        if not key.startswith(f"{client_id}-"):
            self.findings.append("create without its Idempotency-Key")
        if {"device_id", "end_user_id"} & given.keys():
            self.findings.append("create names device or user")
        if self.bodies.setdefault(key, body) != body:
            self.findings.append("create repeated with another body")
        if self.contract == "older" and key in self.keys:
            return 201, self._shown(self.recordings[self.keys[key]])
        recording = Recording(f"rec_{len(self.recordings) + 1}-{client_id[-6:]}", client_id)
        self.recordings[recording.id] = recording
        self.keys[key] = recording.id
        return 201, self._shown(recording)

    def _shown(self, recording: Recording) -> dict[str, Any]:
        status = "uploaded" if recording.completed else "pending"
        return {
            "id": recording.id,
            "device_id": "dev_1",
            "end_user_id": "eu_1",
            "status": status,
            "media": [],
            "unheard_of": {"x": 1},
        }

    def _url(self, name: str, _head: dict[str, str], body: bytes) -> tuple[int, Any]:
        recording = self.recordings.get(name)
        if recording is None:
            return 404, {"error": {"code": "not_found", "message": f"no recording {name}"}}
        json.loads(body)
        media = f"med_{len(recording.media) + 1}"
        recording.media.append(media)
        url = f"{self.storage}/bucket/{name}/{media}?X-Amz-Credential=AKIA&X-Amz-Signature=5ec2e7{name}"
        answer: dict[str, Any] = {"upload_url": url, "expires_at": "2030-01-01T00:00:00Z"}
        if self.contract == "older":
            return 200, answer | {
                "media_id": media,
                "headers": {"Content-Type": "audio/opus", "x-amz-meta-a": "b"},
            }
        return 200, answer | {"content_type": "audio/opus"}

    def _put(self, name: str, head: dict[str, str], body: bytes) -> tuple[int, Any]:
        if "authorization" in head:
            self.findings.append("the bearer went to storage")
        if "transfer-encoding" in head:
            self.findings.append("a chunked PUT")
        if head.get("content-type") != "audio/opus" or (
            self.contract == "older" and head.get("x-amz-meta-a") != "b"
        ):
            self.findings.append("a PUT without its headers")
        self.recordings[name].stored.append(body)
        return 200, '"' + hashlib.md5(body, usedforsecurity=False).hexdigest() + '"'

    def _complete(self, name: str, _head: dict[str, str], body: bytes) -> tuple[int, Any]:
        recording, given = self.recordings.get(name), json.loads(body)
        if given.keys() != {"content_sha256"}:
            self.findings.append(f"complete with {sorted(given)}")
        if recording is None:
            return 404, {"error": "no such recording"}
        if not recording.stored:
            return 400, {"error": {"code": "invalid_request", "message": "nothing was uploaded"}}
        if hashlib.sha256(recording.stored[-1]).hexdigest() != given["content_sha256"]:
            return 409, {"error": {"code": "conflict", "message": "hash mismatch"}}
        if recording.completed and self.contract == "older":
            return 400, {"error": {"code": "invalid_request", "message": "recording is already uploaded"}}
        recording.completed = given["content_sha256"]
        answer = {"id": name, "status": "uploaded"}
        if self.contract == "newer":
            answer |= {
                "content_sha256": recording.completed,
                "content_sha256_verified_at": "2026-01-01T00:00:00Z",
            }
        return 200, answer

    def _heartbeat(self, _name: str, _head: dict[str, str], body: bytes) -> tuple[int, Any]:
        json.loads(body)
        return 200, {"status": "ok"}

    def _refresh(self, _name: str, _head: dict[str, str], _body: bytes) -> tuple[int, Any]:
        self.token = NEXT_TOKEN
        return 200, {"device_token": NEXT_TOKEN}

    def unsay(self, call: str, name: str) -> None:
        """Take back that the newest such request met a fault."""
        with self.lock:
            newest = next(
                each for each in reversed(self.exchanges) if (each.call, each.recording) == (call, name)
            )
            newest.answer = ""

    def of_client(self, client_id: str) -> list[Recording]:
        """Return the recordings that carry a local id, those with audio first."""
        with self.lock:
            mine = [recording for recording in self.recordings.values() if recording.client_id == client_id]
        return sorted(mine, key=lambda recording: not recording.stored)
