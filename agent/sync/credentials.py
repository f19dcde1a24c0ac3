"""The device token: where it comes from, who may read it, and which one counts (api.md section 7).

Sources, from the top: the state directory's ``device-token`` (written here), ``api.token_file``, systemd's
``$CREDENTIALS_DIRECTORY/device-token``. What was written here counts until the source beneath it holds
another token than it did then: that one was put there later, by a person. Content is compared, not times,
because a deployment tool may write the same file every night.

``device-token.json`` beside the token remembers fingerprints: for each token written here, what lay beneath
it, and what was last seen beneath by anybody (a shell does not see systemd's credentials, the daemon does).
It is written before the token, so that a crash between the two leaves the old token with its own entry.
"""

import contextlib
import hashlib
import hmac
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

import msgspec

from agent.errors import CredentialError
from agent.host.disk import Disk

TOKEN_NAME = "device-token"  # noqa: S105 - the name of a file
RECORD_NAME = "device-token.json"

STATE = "state"
TOKEN_FILE = "token_file"  # noqa: S105 - the name of a source
CREDENTIAL = "credential"

_FORMAT = re.compile(r"dtok_[!-~]+")
_LARGEST = 4096
_FINGERPRINT_LENGTH = 8
_HOW = 'run "recorder-agent token set"'


class Token:
    """A device token that does not show itself: only ``reveal`` gives the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Take a token's text, without blanks around it; CredentialError for anything else."""
        if not _FORMAT.fullmatch(text):
            raise CredentialError("this is no device token: one begins with dtok_ and has no blanks in it")
        self._text = text

    def reveal(self) -> str:
        """Return the text, for the Authorization header or the file."""
        return self._text

    @property
    def fingerprint(self) -> str:
        """The first 8 hexadecimal digits of the SHA-256: tells tokens apart, and opens nothing."""
        return hashlib.sha256(self._text.encode()).hexdigest()[:_FINGERPRINT_LENGTH]

    def __repr__(self) -> str:
        return f"<Token {self.fingerprint}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and hmac.compare_digest(self._text, other._text)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token is not to be pickled")


class Choice(NamedTuple):
    """The token that counts and where it is from: ``state``, ``token_file`` or ``credential``."""

    token: Token
    source: str


class _Written(msgspec.Struct):
    beneath: dict[str, str] = {}
    same_owner: bool = False


class _Record(msgspec.Struct):
    """What ``device-token.json`` holds; all tokens are fingerprints."""

    written: dict[str, _Written] = {}
    """By token written here: what lay beneath, by source."""
    seen: dict[str, str] = {}
    """What was last seen in the sources beneath."""


class Credentials:
    """The sources of the device token.

    Args:
        state_directory: holds ``device-token`` and ``device-token.json``.
        token_file: ``api.token_file``; "" for none.
        environ: for ``$CREDENTIALS_DIRECTORY``; ``$NOTIFY_SOCKET`` tells the service, which knows when it was
            given no credential, from a shell, which does not.
        disk: makes what ``store`` writes durable.
    """

    def __init__(
        self,
        state_directory: Path,
        token_file: str,
        environ: Mapping[str, str],
        disk: Disk | None = None,
    ) -> None:
        self._folder = state_directory
        self._own = state_directory / TOKEN_NAME
        self._record_file = state_directory / RECORD_NAME
        self._beneath: dict[str, Path] = {}
        if token_file:
            self._beneath[TOKEN_FILE] = Path(token_file)
        if folder := environ.get("CREDENTIALS_DIRECTORY"):
            self._beneath[CREDENTIAL] = Path(folder) / TOKEN_NAME
        self._is_service = "NOTIFY_SOCKET" in environ
        self._disk = disk or Disk()
        self._signature: object = None

    def token(self) -> Token:
        """Return the token that counts, and remember what was seen.

        Raises:
            CredentialError: there is none, or it cannot be used; ``changed`` tells when to ask again.
        """
        self._signature = self._stat()
        choice = self.find()
        if choice is None:
            missing = self._beneath.get(TOKEN_FILE)
            place = f"api.token_file {missing} is not there" if missing else "there is no device token yet"
            raise CredentialError(f"{place}: {_HOW}")
        self._remember(choice)
        return choice.token

    def changed(self) -> bool:
        """Return whether a source changed since ``token`` was called: its content, mode, or being there."""
        return self._stat() != self._signature

    def find(self) -> Choice | None:
        """Return the token that counts, or None, and write nothing; CredentialError as for ``token``."""
        own = _read(self._own, ours=True)
        if own is None:
            return self._lower()
        beneath = None
        with contextlib.suppress(CredentialError):  # a source that cannot be used takes the place of nothing
            beneath = self._lower()
        if beneath is None or self._was_beneath(own, beneath.source, beneath.token.fingerprint):
            return Choice(own, STATE)
        return beneath

    def hidden(self) -> str | None:
        """Return the fingerprint of the systemd credential that counts for the daemon, unseen from here."""
        seen = self._record().seen.get(CREDENTIAL)
        if CREDENTIAL in self._beneath or not seen:
            return None
        choice = self.find()
        if choice is None:
            return seen
        if choice.source == TOKEN_FILE or self._look().get(TOKEN_FILE):
            return None
        return None if self._was_beneath(choice.token, CREDENTIAL, seen) else seen

    def store(self, token: Token, *, same_owner: bool = False) -> None:
        """Make ``token`` the one that counts: durable, mode 0600, atomic. CredentialError when it cannot be.

        ``same_owner`` is noted beside it: the new token continues the old one's lineage.
        """
        record = self._record()
        own = None
        with contextlib.suppress(CredentialError):
            own = _read(self._own, ours=True)
        kept = {key: entry for key, entry in record.written.items() if own and key == own.fingerprint}
        seen = record.seen | self._look()
        kept[token.fingerprint] = _Written(beneath=seen, same_owner=same_owner)
        try:
            self._disk.replace(self._record_file, msgspec.json.encode(_Record(kept, seen)), "token.record")
            self._disk.replace(self._own, token.reveal().encode() + b"\n", "token.token")
        except OSError as error:
            raise CredentialError(
                f"the device token cannot be kept in {self._folder} ({error.strerror}): "
                "set it again when that is mended"
            ) from error

    def _lower(self) -> Choice | None:
        """Return the first token beneath; CredentialError for one that cannot be used."""
        for source, path in self._beneath.items():
            token = _read(path, ours=source == TOKEN_FILE)
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
                token = _read(path, ours=source == TOKEN_FILE)
            except CredentialError:  # not known to hold anything else than before
                found.pop(source, None)
            else:
                found[source] = token.fingerprint if token else ""
        return found

    def _remember(self, choice: Choice) -> None:
        """Note what lies beneath, so that its change, or a ``store`` that cannot see it, is understood."""
        record, now = self._record(), self._look()
        before = msgspec.json.encode(record)
        record.seen |= now
        if choice.source == STATE:
            written = record.written.setdefault(choice.token.fingerprint, _Written())
            written.beneath = record.seen | written.beneath
        if msgspec.json.encode(record) != before:
            with contextlib.suppress(OSError):  # a full card must not cost the token
                self._disk.replace(self._record_file, msgspec.json.encode(record), "token.record")

    def _record(self) -> _Record:
        try:
            return msgspec.json.decode(self._record_file.read_bytes(), type=_Record)
        except (
            OSError,
            msgspec.DecodeError,
            UnicodeDecodeError,
        ):  # it can be lost: the token written here counts
            return _Record()

    def _stat(self) -> tuple[tuple[int, ...] | None, ...]:
        return tuple(_signature(path) for path in (self._own, *self._beneath.values()))


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


def _read(path: Path, *, ours: bool) -> Token | None:
    """Return the token in a file, None when there is no file; CredentialError never tells what is in it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CredentialError(f"the device token in {path} cannot be read ({error.strerror})") from error
    try:
        _check(path, os.fstat(descriptor).st_mode, ours=ours)
        content = os.read(descriptor, _LARGEST + 1)
    except OSError as error:
        raise CredentialError(f"the device token in {path} cannot be read ({error.strerror})") from error
    finally:
        os.close(descriptor)
    text = content.decode("ascii", "replace").strip()
    if not text:
        raise CredentialError(f"{path} is empty, and should hold the device token: {_HOW}")
    if len(content) > _LARGEST or not _FORMAT.fullmatch(text):
        raise CredentialError(f"{path} holds no device token (dtok_ and no blanks): {_HOW}")
    return Token(text)


def _check(path: Path, mode: int, *, ours: bool) -> None:
    if not stat.S_ISREG(mode):
        raise CredentialError(f"{path} is not a file, and should hold the device token: {_HOW}")
    if ours and mode & 0o077:
        raise CredentialError(
            f"others can read the device token in {path} (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}, "
            "and ask for a new token if they should not have it"
        )
