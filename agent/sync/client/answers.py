"""What the recordings API answers, as typed values; `verdicts` says what they mean."""

from typing import Any

import httpx
import msgspec

from agent.sync.client.urls import host_of


class Answer(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """One whole answer: the body was read to its end, or to the cap (``truncated``)."""

    status: int
    headers: httpx.Headers
    body: bytes
    truncated: bool = False

    def __repr__(self) -> str:
        """Show the status alone: bodies carry upload URLs and tokens."""
        return f"Answer({self.status})"


class Created(msgspec.Struct, frozen=True):
    """The answer to a create; ids are opaque, an unknown status stays text."""

    id: str
    device_id: str | None
    end_user_id: str | None
    status: str | None


class UploadTicket(msgspec.Struct, frozen=True):
    """Where and how to PUT one file. The URL is a credential: ``repr`` hides its query."""

    url: str
    headers: dict[str, str]
    expires_at: str | None = None
    media_id: str | None = None

    def __repr__(self) -> str:
        """Show the storage host alone."""
        return (
            f"UploadTicket({host_of(self.url)!r}, expires_at={self.expires_at!r}, media_id={self.media_id!r})"
        )


class Completion(msgspec.Struct, frozen=True):
    """The server has the audio; ``verified`` says that it checked our hash."""

    verified: bool
    status: str | None


class Call(msgspec.Struct, frozen=True):
    """What an answer is judged by: what was called, on which host, with which secret, at which wall time."""

    what: str
    """The call in words: ``create``, ``upload URL request``, ``upload``, ``complete``, …"""
    host: str
    wall: float
    secret: str = ""

    @property
    def is_of_a_recording(self) -> bool:
        """False for heartbeat and token refresh."""
        return self.what in {"create", "upload URL request", "complete"}

    def __repr__(self) -> str:
        """Leave the secret out."""
        return f"Call({self.what!r}, {self.host!r})"


def json_object(answer: Answer) -> dict[str, Any] | None:
    """Return the body when it is a JSON object, else None."""
    if answer.truncated:
        return None
    try:
        value = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
