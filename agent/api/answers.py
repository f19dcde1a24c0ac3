"""What the recordings API answers, as typed values; ``responses`` reads them, ``verdicts`` says what they mean."""

from collections.abc import Mapping

import msgspec

from agent.api.urls import host_of

LIFETIME_SECONDS = 3600.0
"""The life of an upload URL whose answer does not say it (api.md section 2)."""


class Answer(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """One whole answer: the body was read to its end, or to the cap (``truncated``)."""

    status: int
    headers: Mapping[str, str]
    """Those that are ever looked at, by their small names (``responses.headers_of``)."""
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


class UploadUrl(msgspec.Struct, frozen=True):
    """Where and how to PUT one file. The URL is a credential: ``repr`` hides its query."""

    url: str
    headers: dict[str, str]
    lifetime: float = LIFETIME_SECONDS
    """Seconds from the answer: ``expires_at`` minus the answer's ``Date``, an hour when either is missing."""
    media_id: str | None = None

    def __repr__(self) -> str:
        """Show the storage host alone."""
        return f"UploadUrl({host_of(self.url)!r}, lifetime={self.lifetime:g}, media_id={self.media_id!r})"


class Completion(msgspec.Struct, frozen=True):
    """The server has the audio; ``verified`` says that it checked our hash."""

    verified: bool
    status: str | None
    media: "tuple[Media, ...]" = ()


class Media(msgspec.Struct, frozen=True):
    """A row of ``media[]``; what is missing or absurd is None."""

    id: str | None
    status: str | None
    file_size_bytes: int | None


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
