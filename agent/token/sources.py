"""Where the device token comes from, and which of several counts (api.md section 7).

Sources, from the top: the state directory's ``device-token`` (written here), ``api.token_file``, systemd's
``$CREDENTIALS_DIRECTORY/device-token``. What was written here counts until the source beneath it holds
another token than it did then: that one was put there later, by a person. Content is compared, not times,
because a deployment tool may write the same file every night.

``device-token.json`` beside the token remembers fingerprints: for each token written here, what lay beneath
it, and what was last seen beneath by anybody (a shell does not see systemd's credentials, the deliverer does).
It is written before the token, so that a crash between the two leaves the old token with its own entry.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.api.device_token import Token
from agent.disk import Disk
from agent.errors import CredentialError
from agent.json_file import JsonFile
from agent.process.systemd import is_service
from agent.small_file import UnusableFile, load
from agent.token.file import read_token

TOKEN_NAME = "device-token"  # noqa: S105 - the name of a file
RECORD_NAME = "device-token.json"

STATE = "state"
TOKEN_FILE = "token_file"  # noqa: S105 - the name of a source
CREDENTIAL = "credential"


class Choice(NamedTuple):
    """The token that counts and where it is from: ``state``, ``token_file`` or ``credential``."""

    token: Token
    source: str


class _Written(msgspec.Struct):
    beneath: dict[str, str] = {}


class _Record(msgspec.Struct):
    """What ``device-token.json`` holds; all tokens are fingerprints."""

    written: dict[str, _Written] = {}
    """By token written here: what lay beneath, by source."""
    seen: dict[str, str] = {}
    """What was last seen in the sources beneath."""


_RECORD = msgspec.json.Decoder(_Record)


class Sources:
    """The places a token may lie in; see ``Credentials`` for the arguments."""

    def __init__(self, folder: Path, token_file: str, environ: Mapping[str, str], disk: Disk) -> None:
        self._own = folder / TOKEN_NAME
        self._record_file = JsonFile(folder / RECORD_NAME, _RECORD, disk, "token.record")
        self._beneath: dict[str, Path] = {}
        if token_file:
            self._beneath[TOKEN_FILE] = Path(token_file)
        if credentials := environ.get("CREDENTIALS_DIRECTORY"):
            self._beneath[CREDENTIAL] = Path(credentials) / TOKEN_NAME
        self._is_service = is_service(environ)
        self._disk = disk

    @property
    def token_file(self) -> Path | None:
        """``api.token_file``."""
        return self._beneath.get(TOKEN_FILE)

    def find(self) -> Choice | None:
        """Return the token that counts, or None, and write nothing; CredentialError as for ``token``."""
        own = read_token(self._own, ours=True)
        if own is None:
            return self._lower()
        beneath = None
        with contextlib.suppress(CredentialError):  # a source that cannot be used takes the place of nothing
            beneath = self._lower()
        if beneath is None or self._was_beneath(own, beneath.source, beneath.token.fingerprint):
            return Choice(own, STATE)
        return beneath

    def hidden(self) -> str | None:
        """Return the fingerprint of the systemd credential that counts for the deliverer, unseen from here."""
        seen = self._record().seen.get(CREDENTIAL)
        if CREDENTIAL in self._beneath or not seen:
            return None
        choice = self.find()
        if choice is None:
            return seen
        if choice.source == TOKEN_FILE or self._look().get(TOKEN_FILE):
            return None
        return None if self._was_beneath(choice.token, CREDENTIAL, seen) else seen

    def beneath(self) -> dict[str, str]:
        """Return what lies beneath now, and what was last seen where nothing can be seen from here."""
        return self._record().seen | self._look()

    def write(self, token: Token, beneath: dict[str, str]) -> None:
        """Make ``token`` the one that counts until another lies beneath; durable, 0600, atomic; OSError."""
        record = self._record()
        own = None
        with contextlib.suppress(CredentialError):
            own = read_token(self._own, ours=True)
        kept = {key: entry for key, entry in record.written.items() if own and key == own.fingerprint}
        kept[token.fingerprint] = _Written(beneath)
        record = _Record(kept, record.seen | beneath)
        self._record_file.replace(record)
        self._disk.replace(self._own, token.reveal().encode() + b"\n", "token.token")

    def remember(self, choice: Choice) -> None:
        """Note what lies beneath, so that its change, or a ``write`` that cannot see it, is understood; OSError."""
        if (record := self._changes(choice)) is not None:
            self._record_file.replace(record)

    def has_changes(self, choice: Choice) -> bool:
        """Whether ``remember`` has something to note."""
        return self._changes(choice) is not None

    def _changes(self, choice: Choice) -> _Record | None:
        record, now = self._record(), self._look()
        before = msgspec.json.encode(record)
        record.seen |= now
        if choice.source == STATE:
            written = record.written.setdefault(choice.token.fingerprint, _Written())
            written.beneath = record.seen | written.beneath
        return record if msgspec.json.encode(record) != before else None

    def signature(self) -> object:
        """Return something that is another when a source has changed: its content, mode, or being there."""
        return tuple(_signature(path) for path in (self._own, *self._beneath.values()))

    def _lower(self) -> Choice | None:
        """Return the first token beneath; CredentialError for one that cannot be used."""
        for source, path in self._beneath.items():
            token = read_token(path, ours=source == TOKEN_FILE)
            if token is not None:
                return Choice(token, source)
        return None

    def _was_beneath(self, own: Token, source: str, fingerprint: str) -> bool:
        """Return whether ``source`` held that token when ``own`` was written; yes when nobody knows."""
        written = self._record().written.get(own.fingerprint, _Written())
        return written.beneath.get(source, fingerprint) == fingerprint

    def _look(self) -> dict[str, str]:
        """Return the fingerprints beneath, "" for a source that is known to hold nothing."""
        found = {TOKEN_FILE: ""}
        if self._is_service:
            found[CREDENTIAL] = ""
        for source, path in self._beneath.items():
            try:
                token = read_token(path, ours=source == TOKEN_FILE)
            except CredentialError:  # not known to hold anything else than before
                found.pop(source, None)
            else:
                found[source] = token.fingerprint if token else ""
        return found

    def _record(self) -> _Record:
        try:
            return load(Path(os.path.realpath(self._record_file.path)), _RECORD)
        except (OSError, UnusableFile):  # it can be lost: the token written here counts
            return _Record()


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mode,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
