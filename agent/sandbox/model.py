"""What the sandbox keeps, what it is sent, and what can be switched."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from agent.sandbox.web.answers import ApiError, ErrorShape

_UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")

type_extension = {"audio/ogg": "ogg", "audio/opus": "opus"}
"""Content types that the API accepts, and the file name extension of each."""


class Switches(Struct, forbid_unknown_fields=True):
    """How the sandbox behaves where servers differ; every field may be set at any time."""

    honour_idempotency: bool = True
    """False: an Idempotency-Key is validated and then ignored."""
    idempotency_seconds: int = 86_400
    """How long a key is remembered."""
    upload_answer: Literal["headers", "content_type"] = "headers"
    """The upload URL comes with an object of headers, or with a flat content type."""
    media_id: bool = True
    """False: the upload URL comes without ``media_id``."""
    url_seconds: int = 3600
    """Life of an upload URL; 0 is expired at once."""
    contract: Literal["strong", "older"] = "strong"
    """The answer of upload-complete (api.md 4): verified, or only ``uploaded``."""
    early_completes: int = 0
    """So many times each recording's complete is answered 425 first."""
    completed_status: str = "uploaded"
    """Status after upload-complete; a newer server may be further already."""
    sizes_as_text: bool = False
    """True: ``file_size_bytes`` is a string in answers."""
    command_key: Literal["commands", "pending_commands", "command"] = "commands"
    """Where a heartbeat's answer carries commands."""
    command_handouts: int = 1
    """So many heartbeats are given the same command."""
    requests_per_minute: int = 0
    """Calls a minute over all devices; 0 is no limit."""
    upload_urls_per_minute: int = 0
    """Upload URLs a minute over all devices; 0 is no limit."""
    rate_limit_headers: bool = True
    """False: no X-RateLimit headers, even where a limit is set."""
    rate_limit_reset: Literal["unix", "seconds"] = "unix"
    """X-RateLimit-Reset as a time, or as seconds from now."""
    retry_after: bool = True
    """False: a 429 comes without Retry-After."""
    error_shape: ErrorShape = ErrorShape.CODE
    """How error bodies are written (api.md 5)."""


class Token(Struct):
    """A device token, known by its SHA-256 alone."""

    sha256: str
    device_id: str
    end_user_id: str | None
    valid: bool = True


class StoredObject(Struct):
    """Facts about the bytes that a PUT has left in the storage."""

    sha256: str
    md5: str
    size_bytes: int
    stored_at: str


class Media(Struct):
    """One media row: made by each upload URL, filled by its PUT."""

    id: str
    mime_type: str
    file_size_bytes: int
    captured_at: str | None
    created_at: str
    key: str
    status: str = "pending"
    object: StoredObject | None = None


class Recording(Struct):
    """One recording with all its media rows."""

    id: str
    device_id: str
    end_user_id: str | None
    name: str | None
    started_at: str | None
    ended_at: str | None
    metadata: dict[str, Any]
    created_at: str
    status: str = "pending"
    duration_ms: int | None = None
    media: list[Media] = field(default_factory=list)
    stored_last: str | None = None
    """Id of the media row whose object came in last."""
    early_answers: int = 0
    content_sha256: str | None = None
    content_sha256_verified_at: str | None = None


class Refusal(Struct):
    """A 4xx answer, as it was sent."""

    status: int
    text: str
    content_type: str | None


class KeptAnswer(Struct):
    """The first answer to a create with an Idempotency-Key: a recording, or a refusal."""

    body_sha256: str
    answer: dict[str, Any]
    at: float
    refusal: Refusal | None = None
    """Then ``answer`` is empty."""


class Command(Struct):
    """A command that waits for a heartbeat of its device."""

    id: str
    device_id: str
    type: str
    params: dict[str, Any]
    grant_token: str
    expires_at: str
    handouts: int = 0


class Kept(Struct):
    """All that survives a restart: the content of ``recordings.json``."""

    secret: str
    tokens: list[Token] = field(default_factory=list)
    recordings: dict[str, Recording] = field(default_factory=dict)
    answers: dict[str, KeptAnswer] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)


class CreateBody(Struct, forbid_unknown_fields=True):
    """Body of a create (api.md 1)."""

    name: Annotated[str, Meta(max_length=255)] | UnsetType = UNSET
    started_at: str | UnsetType = UNSET
    ended_at: str | UnsetType = UNSET
    metadata: dict[str, Any] = field(default_factory=dict)


class UploadBody(Struct, forbid_unknown_fields=True):
    """Body of a request for an upload URL (api.md 2)."""

    type: Literal["audio"]
    content_type: Literal["audio/ogg", "audio/opus"]
    file_size_bytes: Annotated[int, Meta(ge=1)]
    captured_at: str | UnsetType = UNSET


class CompleteBody(Struct, forbid_unknown_fields=True):
    """Body of an upload-complete (api.md 4)."""

    content_sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


COMPLETE_SIZES = frozenset({"file_size_bytes", "size_bytes", "size", "content_length"})
"""In the body of an upload-complete each of these provokes a 409 (api.md 4)."""


_DeviceState = Literal[
    "idle", "recording", "syncing", "uploading", "charging", "lowBattery", "storageFull", "error"
]


class HeartbeatBody(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Body of a heartbeat (api.md 6): unknown fields, wrong types and nulls are refused."""

    battery_percent: Annotated[float, Meta(ge=0, le=100)] | UnsetType = UNSET
    storage_used_mb: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    storage_total_mb: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    signal_strength_dbm: float | UnsetType = UNSET
    firmware_version: Annotated[str, Meta(max_length=32)] | UnsetType = UNSET
    device_name: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    device_state: _DeviceState | UnsetType = UNSET
    pending_recordings: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    flags: Annotated[int, Meta(ge=0, le=63)] | UnsetType = UNSET
    connection_type: list[Literal["wifi", "4g", "ble"]] | UnsetType = UNSET


class CommandBody(Struct, forbid_unknown_fields=True):
    """Body of ``POST /_sandbox/commands``; any type of command may be queued, known or not."""

    type: str
    params: dict[str, Any] = field(default_factory=dict)
    expires_in_seconds: float = 300.0
    device_id: str | None = None


class BindBody(Struct, forbid_unknown_fields=True):
    """Body of ``POST /_sandbox/tokens``."""

    token: str
    device_id: str = "dev_sandbox"
    end_user_id: str | None = None


class RevokeBody(Struct, forbid_unknown_fields=True):
    """Body of ``DELETE /_sandbox/tokens``."""

    token: str


RESOLVED = [*map(msgspec.json.Decoder, (Switches, CreateBody, UploadBody, CompleteBody, HeartbeatBody))]
"""See the package on types and threads."""

_Body = TypeVar("_Body")


def parse(body: dict[str, Any], shape: type[_Body]) -> _Body:
    """Return a JSON object as its type; ApiError 400 says what is wrong."""
    try:
        return msgspec.convert(body, shape)
    except msgspec.ValidationError as error:
        raise ApiError(400, "invalid_request", f"{error}.") from None


def utc_text(seconds: float) -> str:
    """Return a Unix time as RFC 3339, UTC, milliseconds and ``Z``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc_seconds(text: str | UnsetType | None, param: str) -> float | None:
    """Return the Unix time of an ISO 8601 UTC text ending in ``Z``, None when there is no text.

    Raises:
        ApiError: 400, it is written otherwise or no such time exists.
    """
    if text is None or isinstance(text, UnsetType):
        return None
    if _UTC_TIME.fullmatch(text):
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError:
            pass
    raise ApiError(400, "invalid_request", f"{param} must be ISO 8601 in UTC, ending in Z.", param=param)
