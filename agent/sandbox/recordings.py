"""The recordings of the sandbox: create, upload URL, stored object, complete (api.md 1-4)."""

import hashlib
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from agent.sandbox.book import Book, new_id
from agent.sandbox.model import (
    COMPLETE_SIZES,
    CompleteBody,
    CreateBody,
    Kept,
    KeptAnswer,
    Media,
    Recording,
    Refusal,
    StoredObject,
    Switches,
    Token,
    UploadBody,
    parse,
    type_extension,
    utc_seconds,
    utc_text,
)
from agent.sandbox.web.answers import ApiError

METADATA_BYTES = 4096
_NOT_KEPT = {
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
}
_IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9_-]{1,255}")


class Recordings:
    """All recordings and their media; methods may be called from any thread."""

    def __init__(self, book: Book, switches: Switches, now: Callable[[], float]) -> None:
        self._book = book
        self._switches = switches
        self._now = now

    @property
    def by_id(self) -> Mapping[str, Recording]:
        """All recordings, oldest first."""
        return self._book.entries.recordings

    def delete(self, recording_id: str) -> None:
        """Forget a recording, as a person in the portal does."""
        with self._book.changing() as kept:
            del kept.recordings[recording_id]

    def create(self, token: Token, body: dict[str, Any], key: str | None) -> dict[str, Any]:
        """Make a recording, and keep the answer for the key."""
        if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
            raise ApiError(400, "invalid_request", "Idempotency-Key must be 1 to 255 of A-Z a-z 0-9 _ -.")
        recording = self._new_recording(token, body)
        with self._book.changing() as kept:
            kept.recordings[recording.id] = recording
            answer = self.shown(recording)
            if key is not None:
                kept.answers[key] = KeptAnswer(_digest(body), answer, self._now())
            return answer

    def first_answer(self, key: str | None, body: Any) -> KeptAnswer | None:
        """Return the answer that a key of the project has had already, None when the create is to be carried out.

        Raises:
            ApiError: the key came with another body before.
        """
        with self._book.reading() as kept:
            first = kept.answers.get(key or "")
        if first is None or not self._switches.honour_idempotency:
            return None
        if self._now() - first.at >= self._switches.idempotency_seconds:
            return None
        if first.body_sha256 != _digest(body):
            raise ApiError(
                409, "resource_already_exists", "This Idempotency-Key came with another body before."
            )
        return first

    def keep_refusal(self, key: str | None, body: Any, refusal: Refusal) -> None:
        """Keep a 4xx for the key, as the API does for 24 hours; 408, 429 and what concerns the token are not kept."""
        if key is None or not _IDEMPOTENCY_KEY.fullmatch(key) or refusal.status in _NOT_KEPT:
            return
        if HTTPStatus.BAD_REQUEST <= refusal.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            with self._book.changing() as kept:
                first = kept.answers.get(key)
                if first is None or self._now() - first.at >= self._switches.idempotency_seconds:
                    kept.answers[key] = KeptAnswer(_digest(body), {}, self._now(), refusal)

    def add_media(self, recording_id: str, body: dict[str, Any]) -> Media:
        """Make a media row for an upload URL."""
        wanted = parse(body, UploadBody)
        utc_seconds(wanted.captured_at, "captured_at")
        media_id = new_id("med")
        media = Media(
            id=media_id,
            mime_type=wanted.content_type,
            file_size_bytes=wanted.file_size_bytes,
            captured_at=wanted.captured_at or None,
            created_at=utc_text(self._now()),
            key=f"{recording_id}/{media_id}.{type_extension[wanted.content_type]}",
        )
        with self._book.changing() as kept:
            recording = _find(kept, recording_id)
            if recording.status != "pending":
                raise ApiError(400, "invalid_request", "The audio of this recording is already uploaded.")
            recording.media.append(media)
        return media

    def stored(self, key: str, *, sha256: str, md5: str, size_bytes: int) -> None:
        """Note what a PUT has left under a key; a later PUT to the same key takes its place."""
        with self._book.changing() as kept:
            recording = kept.recordings.get(key.partition("/")[0])
            for media in recording.media if recording else []:
                if recording and media.key == key:
                    media.object = StoredObject(sha256, md5, size_bytes, utc_text(self._now()))
                    media.status = "uploaded"
                    recording.stored_last = media.id

    def complete(self, recording_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Finish an upload by the contract in force; what was stored last is what counts."""
        if COMPLETE_SIZES & body.keys():
            raise ApiError(
                409, "processing_error", "The body is content_sha256 alone; a size contradicts it."
            )
        claimed = parse(body, CompleteBody).content_sha256
        strong = self._switches.contract == "strong"
        with self._book.changing() as kept:
            recording = _find(kept, recording_id)
            stored = next((each.object for each in recording.media if each.id == recording.stored_last), None)
            if stored is None:
                raise ApiError(400, "invalid_request", "No audio has been uploaded for this recording.")
            if recording.status != "pending" and not strong:
                raise ApiError(400, "invalid_request", "The upload of this recording is already complete.")
            if recording.early_answers < self._switches.early_completes:
                recording.early_answers += 1
                raise ApiError(425, "processing_error", "The upload is still being verified.")
            if strong and claimed != (recording.content_sha256 or stored.sha256):
                raise ApiError(409, "processing_error", "content_sha256 differs from the stored object's.")
            if recording.status == "pending":
                self._finish(recording, claimed if strong else None)
            return self.shown(recording)

    def shown(self, recording: Recording) -> dict[str, Any]:
        """Return a recording as the API shows it."""
        shown: dict[str, Any] = msgspec.to_builtins(recording) | {"transcription_id": None}
        del shown["early_answers"], shown["stored_last"]
        if recording.content_sha256 is None:
            del shown["content_sha256"], shown["content_sha256_verified_at"]
        for media in shown["media"]:
            del media["key"], media["object"]
            media["type"] = "audio"
            if self._switches.sizes_as_text:
                media["file_size_bytes"] = str(media["file_size_bytes"])
        return shown

    def _new_recording(self, token: Token, body: dict[str, Any]) -> Recording:
        for name in ("device_id", "end_user_id"):
            if name in body:
                raise ApiError(400, "invalid_request", f"{name} is taken from the device token.", param=name)
        wanted = parse(body, CreateBody)
        started = utc_seconds(wanted.started_at, "started_at")
        ended = utc_seconds(wanted.ended_at, "ended_at")
        if started is not None and ended is not None and ended < started:
            raise ApiError(400, "invalid_request", "ended_at lies before started_at.", param="ended_at")
        if len(msgspec.json.encode(wanted.metadata)) > METADATA_BYTES:
            raise ApiError(400, "invalid_request", "metadata is longer than 4096 bytes.", param="metadata")
        return Recording(
            id=new_id("rec"),
            device_id=token.device_id,
            end_user_id=token.end_user_id,
            name=wanted.name or None,
            started_at=wanted.started_at or None,
            ended_at=wanted.ended_at or None,
            metadata=wanted.metadata,
            created_at=utc_text(self._now()),
        )

    def _finish(self, recording: Recording, verified: str | None) -> None:
        recording.status = self._switches.completed_status
        recording.content_sha256 = verified
        recording.content_sha256_verified_at = utc_text(self._now()) if verified else None
        started = utc_seconds(recording.started_at, "started_at")
        ended = utc_seconds(recording.ended_at, "ended_at")
        if started is not None and ended is not None:
            recording.duration_ms = round((ended - started) * 1000)


def _digest(body: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(body, order="deterministic")).hexdigest()


def _find(kept: Kept, recording_id: str) -> Recording:
    if recording_id not in kept.recordings:
        raise ApiError(404, "not_found", "There is no such recording.")
    return kept.recordings[recording_id]
