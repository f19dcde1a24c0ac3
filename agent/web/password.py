"""The password of the page: kept as scrypt's hash, and what a browser shows after it was typed."""

import hashlib
import hmac
import secrets
import time
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from agent.small_file import load_or_none

SHORTEST, LONGEST = 8, 256
COST, BLOCK, PARALLEL = 1 << 14, 8, 1
"""Of scrypt: 16 MiB, and about a second on the smallest board."""
MEMORY = 64 << 20
SESSION_SECONDS = 12 * 3600
_Hex = Annotated[str, Meta(pattern=r"^([0-9a-f]{2})+$", max_length=128)]


class Kept(msgspec.Struct, frozen=True):
    """What the file holds."""

    salt: _Hex
    hash: _Hex
    key: _Hex
    """Signs sessions: another password ends them all."""


KEPT = msgspec.json.Decoder(Kept)


def kept(password: str) -> bytes:
    """Return what the file is to hold for a password."""
    salt = secrets.token_bytes(16)
    return msgspec.json.encode(Kept(salt.hex(), _hash(password, salt).hex(), secrets.token_hex(32))) + b"\n"


class Password:
    """The password in a file, which is read anew each time: it may be set while the page runs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def is_set(self) -> bool:
        """Whether there is one."""
        return load_or_none(self._path, KEPT) is not None

    def is_right(self, password: str) -> bool:
        """Return whether a password is the one; takes as long for a wrong one."""
        found = load_or_none(self._path, KEPT)
        if found is None or len(password) > LONGEST:
            return False
        return hmac.compare_digest(_hash(password, bytes.fromhex(found.salt)).hex(), found.hash)

    def session(self) -> str:
        """Return what a browser shows from now on; empty without a password."""
        found = load_or_none(self._path, KEPT)
        until = int(time.time()) + SESSION_SECONDS
        return f"{until}.{_signed(found, until)}" if found is not None else ""

    def is_session(self, shown: str) -> bool:
        """Return whether that is a session of ours, and not over."""
        found = load_or_none(self._path, KEPT)
        until, _, signature = shown.partition(".")
        if found is None or not (until.isascii() and until.isdigit() and len(until) <= 12):  # noqa: PLR2004 - digits
            return False
        is_signed = hmac.compare_digest(
            _signed(found, int(until)).encode(), signature.encode(errors="replace")
        )
        return is_signed and int(until) > time.time()


def _signed(found: Kept, until: int) -> str:
    return hmac.new(bytes.fromhex(found.key), str(until).encode(), hashlib.sha256).hexdigest()


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=COST, r=BLOCK, p=PARALLEL, maxmem=MEMORY)
