"""The devices of the sandbox: their tokens, heartbeats and commands (api.md 6, 7)."""

import secrets
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from agent.sandbox.book import Book, new_id, sha256_text
from agent.sandbox.model import Command, HeartbeatBody, Switches, Token, parse, utc_text
from agent.sandbox.web.answers import ApiError

DEFAULT_TOKEN = "dtok_sandbox"  # noqa: S105 - opens nothing but a sandbox
DEFAULT_DEVICE = "dev_sandbox"
DEFAULT_END_USER = "eu_sandbox"


class Heartbeat(NamedTuple):
    """One heartbeat as it came in."""

    at: str
    device_id: str
    body: dict[str, Any]


class Devices:
    """Who may call, what they reported, and what they are told; methods may be called from any thread."""

    def __init__(self, book: Book, switches: Switches, now: Callable[[], float]) -> None:
        self._book = book
        self._switches = switches
        self._now = now
        self.heartbeats: deque[Heartbeat] = deque(maxlen=1000)
        if not book.entries.tokens:
            self.bind(DEFAULT_TOKEN, DEFAULT_DEVICE, DEFAULT_END_USER)

    def bind(self, token: str, device_id: str = DEFAULT_DEVICE, end_user_id: str | None = None) -> None:
        """Give a device its token; the one it had before is dead."""
        digest = sha256_text(token)
        with self._book.changing() as kept:
            kept.tokens = [each for each in kept.tokens if each.sha256 != digest]
            for each in kept.tokens:
                each.valid = each.valid and each.device_id != device_id
            kept.tokens.append(Token(digest, device_id, end_user_id))

    def revoke(self, token: str) -> None:
        """Refuse a token from now on, as unbinding its device does."""
        digest = sha256_text(token)
        with self._book.changing() as kept:
            for each in kept.tokens:
                each.valid = each.valid and each.sha256 != digest

    def accepts(self, token: str) -> bool:
        """Return whether a token is valid now."""
        digest = sha256_text(token)
        with self._book.reading() as kept:
            return any(each.valid and each.sha256 == digest for each in kept.tokens)

    def authenticate(self, authorization: str | None) -> Token:
        """Return the token of an Authorization header; ApiError 401 when it carries none that is valid."""
        scheme, _, token = (authorization or "").partition(" ")
        digest = sha256_text(token)
        with self._book.reading() as kept:
            for each in kept.tokens:
                if scheme == "Bearer" and each.valid and each.sha256 == digest:
                    return each
        raise ApiError(401, "unauthorized", "The device token is missing, unknown or revoked.")

    def refresh(self, token: Token, device_id: str) -> dict[str, Any]:
        """Give the device a new token; the old one is dead at once."""
        if device_id != token.device_id:
            raise ApiError(404, "not_found", "There is no such device for this token.")
        fresh = f"dtok_{secrets.token_urlsafe(24)}"
        self.bind(fresh, token.device_id, token.end_user_id)
        return {"device_token": fresh}

    def queue_command(
        self,
        kind: str,
        params: Mapping[str, Any] | None = None,
        *,
        expires_in_seconds: float = 300.0,
        device_id: str | None = None,
    ) -> Command:
        """Queue a command for a device (None: the one bound last); an expired one is handed out too."""
        with self._book.changing() as kept:
            command = Command(
                id=new_id("cmd"),
                device_id=device_id or kept.tokens[-1].device_id,
                type=kind,
                params=dict(params or {}),
                grant_token=f"sandbox.{secrets.token_urlsafe(24)}.grant",
                expires_at=utc_text(self._now() + expires_in_seconds),
            )
            kept.commands.append(command)
            return command

    def heartbeat(self, token: Token, body: dict[str, Any]) -> dict[str, Any]:
        """Take a heartbeat and hand out the commands that wait for the device."""
        parse(body, HeartbeatBody)
        self.heartbeats.append(Heartbeat(utc_text(self._now()), token.device_id, body))
        key = self._switches.command_key
        with self._book.reading() as kept:
            given = [each for each in kept.commands if each.device_id == token.device_id]
        if not given:
            return {"status": "ok"}
        if key == "command":
            given = given[:1]
        with self._book.changing() as kept:
            for command in given:
                command.handouts += 1
            kept.commands = [
                each for each in kept.commands if each.handouts < self._switches.command_handouts
            ]
        shown = [_as_handed_out(each) for each in given]
        return {"status": "ok", key: shown[0] if key == "command" else shown}


def _as_handed_out(command: Command) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(command)
    del shown["handouts"]
    return shown
