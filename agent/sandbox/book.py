"""The book of the sandbox: all that survives a restart, in one file."""

import hashlib
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from agent.errors import AgentError
from agent.sandbox.model import Kept

KEPT = msgspec.json.Decoder(Kept)


class Book:
    """What is kept, with its lock and its file; ``entries`` are changed within ``changing()``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self.entries = self._load()

    @contextmanager
    def changing(self) -> Iterator[Kept]:
        """Hold the lock, hand out the entries, and save them afterwards, refusals included."""
        with self._lock:
            try:
                yield self.entries
            finally:
                self._save()

    @contextmanager
    def reading(self) -> Iterator[Kept]:
        """Hold the lock and hand out the entries."""
        with self._lock:
            yield self.entries

    def _load(self) -> Kept:
        try:
            return KEPT.decode(self._path.read_bytes())
        except FileNotFoundError:
            return Kept(secret=secrets.token_hex(32))
        except msgspec.MsgspecError as error:
            raise AgentError(
                f"{self._path} is not the state of a sandbox ({error})",
                "move it away or choose another --directory.",
            ) from error

    def _save(self) -> None:
        fresh = self._path.with_suffix(".tmp")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(self.entries))
        fresh.replace(self._path)


def new_id(kind: str) -> str:
    """Return an opaque id as the API gives them, such as ``rec_…``."""
    return f"{kind}_{secrets.token_urlsafe(12)}"


def sha256_text(text: str) -> str:
    """Return the SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()
