"""The device token that is in use: its binding, whose recordings it may send, and how another takes its place.

Invariants (api.md section 7)
    A token is used only while its binding is in force, and for a recording only by ``Bindings.allows``.
    The binding file is durable before a token that is written here is.
    A refreshed token is on disk before anything uses it.

Procedures
    Store    binding → ``device-token.json`` → ``device-token``.
    Refresh  ``device-token.refreshed`` (the token, 0600, and which it succeeds) → binding → ``device-token.json`` →
             ``device-token`` → ``device-token.refreshed`` removed. A crash behind the first step is completed by
             the next who asks for the token, unless a person has set another since.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from agent.api.device_token import Token
from agent.disk import Disk
from agent.errors import CredentialError
from agent.log import get_logger
from agent.outbox.entry import Entry
from agent.small_file import UnusableFile, decode, is_regular, read_bytes
from agent.status.board import CredentialState
from agent.status.status_document import CredentialStatus
from agent.status.words import HELD_HINT
from agent.token.bindings import LOCK_NAME, BindingChanged, Bindings, OtherOwner, TokenLock
from agent.token.file import HOW
from agent.token.sources import CREDENTIAL, STATE, TOKEN_FILE, Choice, Sources

__all__ = ["CREDENTIAL", "STATE", "TOKEN_FILE", "Choice", "Credentials", "Token"]

log = get_logger(__name__)

REFRESHED_NAME = "device-token.refreshed"
BINDING = "binding"
"""The file that tells the recorder which binding is in force; in the state directory."""
_ANY: Final = object()
"""No binding is expected."""


class _Refreshed(msgspec.Struct):
    """What ``device-token.refreshed`` holds; it is as secret as the token."""

    token: str
    succeeds: str
    """Fingerprint of the token that it takes the place of."""
    beneath: dict[str, str]
    """What lay beneath when the refresh was asked for."""

    def __repr__(self) -> str:
        return f"_Refreshed(succeeds={self.succeeds!r})"


_REFRESHED = msgspec.json.Decoder(_Refreshed)


class Credentials:
    """The device token; may be used by several threads.

    Args:
        folder: ``token/`` of the state directory; holds ``device-token`` and what belongs to it.
        token_file: ``api.token_file``; "" for none.
        environ: for ``$CREDENTIALS_DIRECTORY``; ``$NOTIFY_SOCKET`` tells the service, which knows when it was
            given no credential, from a shell, which does not.
        disk: makes what ``store`` writes durable.
        binding_file: where the recorder is told which binding is in force; None: nobody is told.
    """

    def __init__(
        self,
        folder: Path,
        token_file: str,
        environ: Mapping[str, str],
        disk: Disk | None = None,
        *,
        binding_file: Path | None = None,
    ) -> None:
        self._folder = folder
        self._refreshed_file = folder / REFRESHED_NAME
        self._disk = disk or Disk()
        self._sources = Sources(folder, token_file, environ, self._disk)
        self._lock = TokenLock(folder / LOCK_NAME)
        self.bindings = Bindings(folder, self._disk, self._lock)
        self._binding_file = binding_file
        self._binding: str | None = None
        self._noticed = False
        self._thread = threading.local()
        self.accepted: str | None = None
        """Fingerprint of the token that the API has accepted before it came into use here."""

    def token(self) -> Token:
        """Return the token that counts, and remember what was seen; its binding is in force from now on.

        Raises:
            CredentialError: there is none, or it cannot be used; ``watch`` tells when to ask again.
                OtherOwner: inside ``only_for``, the recording is not the present owner's.
            BindingChanged: inside ``only_under``, another binding is in force.
        """
        self._complete_refresh()
        choice = self.find()
        if choice is None:
            missing = self._sources.token_file
            place = f"api.token_file {missing} is not there" if missing else "there is no device token yet"
            raise CredentialError(place, HOW)
        if self._sources.has_changes(choice):
            with contextlib.suppress(OSError), self._lock:  # a full card must not cost the token
                self._sources.remember(choice)
        self._take_note(choice.token.fingerprint)
        entry = getattr(self._thread, "entry", None)
        if entry is not None and not self.may_send(entry):
            raise OtherOwner(f"{entry.id} was recorded under another device token", HELD_HINT)
        expected = getattr(self._thread, "binding", _ANY)
        if expected is not _ANY and expected != self._binding:
            raise BindingChanged("another device token came into force", "the request is made anew under it")
        self._thread.used = choice.token
        return choice.token

    @contextlib.contextmanager
    def only_for(self, entry: Entry) -> Iterator[None]:
        """Give this thread the token only while it belongs to the owner of a recording."""
        self._thread.entry = entry
        try:
            yield
        finally:
            self._thread.entry = None

    @contextlib.contextmanager
    def only_under(self, binding: str | None) -> Iterator[None]:
        """Give this thread the token only while that binding is in force; ``token`` raises BindingChanged else."""
        self._thread.binding = binding
        try:
            yield
        finally:
            self._thread.binding = _ANY

    def learn(self, end_user_id: str | None, device_id: str | None) -> None:
        """Note what a create with the token that this thread was given last has shown."""
        used = getattr(self._thread, "used", None)
        if used is not None:
            with self._kept_in_mind("what the API has shown"):
                self.bindings.learn(used.fingerprint, end_user_id, device_id)

    def current(self) -> str | None:
        """Return the binding in force; without a token the last one; None before there was any.

        Looks at no file but the first time: ``note_token`` and ``token`` do.
        """
        if not self._noticed:
            self.note_token()
        return self._binding

    def may_send(self, entry: Entry) -> bool:
        """Whether a recording belongs to the owner of the binding in force, or was released to it."""
        return self.bindings.allows(entry.binding, entry.released_to, self.current())

    def note_token(self) -> None:
        """Put the binding of the token that counts now in force; a missing or unusable one changes nothing."""
        self._noticed = True
        with contextlib.suppress(CredentialError):
            fingerprint = self.hidden()
            if fingerprint is None and (choice := self.find()) is not None:
                fingerprint = choice.token.fingerprint
            if fingerprint is not None:
                self._take_note(fingerprint)
                return
        self._binding = self._binding or self.bindings.current
        self._tell_binding()

    def watch(self) -> Callable[[], bool]:
        """Return what tells whether another token counts, or another reason why there is none, than it told last."""
        signature: object = None
        state: object = None

        def changed() -> bool:
            nonlocal signature, state
            now = self._sources.signature()
            if now == signature:
                return False
            before, signature, state = state, now, self._reason()
            return state != before

        return changed

    def _reason(self) -> str:
        """Return the fingerprint of the token that counts, or why there is none."""
        try:
            choice = self.find()
        except CredentialError as error:
            return str(error)
        return choice.token.fingerprint if choice is not None else ""

    def find(self) -> Choice | None:
        """Return the token that counts, or None, and write nothing; CredentialError as for ``token``."""
        return self._sources.find()

    def hidden(self) -> str | None:
        """Return the fingerprint of the systemd credential that counts for the deliverer, unseen from here."""
        return self._sources.hidden()

    def store(self, token: Token, *, same_owner: bool = False) -> None:
        """Make ``token`` the one that counts: durable, mode 0600, atomic. CredentialError when it cannot be.

        ``same_owner``: it continues the present binding; else it begins one, or returns to its own.
        """
        self.note_token()
        with self._explained(), self._lock:
            self.bindings.begin(token.fingerprint, same_owner=same_owner)
            self._sources.write(token, self._sources.beneath())
        self.note_token()

    def beneath(self) -> dict[str, str]:
        """Return what lies beneath now, for ``succeed``."""
        return self._sources.beneath()

    def succeed(self, old: Token, new: Token, beneath: dict[str, str]) -> bool:
        """Put the token that a refresh has brought in the place of ``old``; False when a person has set another.

        ``beneath`` is from before the refresh was asked for. CredentialError when it cannot be kept.
        """
        with self._explained(), self._lock:
            kept = _Refreshed(new.reveal(), old.fingerprint, beneath)
            self._disk.replace(self._refreshed_file, msgspec.json.encode(kept), "refreshed")
            return self._install(kept)

    def _complete_refresh(self) -> None:
        """Complete a refresh that a crash has cut short."""
        # Killed before the rename, the temporary file may hold the only token that is valid, and whole.
        unfinished = self._refreshed_file.with_name(f"{REFRESHED_NAME}.tmp")
        if not is_regular(self._refreshed_file) and not is_regular(unfinished):
            return
        with self._explained(), self._lock:
            for file in (self._refreshed_file, unfinished):
                try:
                    self._install(decode(_REFRESHED, read_bytes(file)))
                except FileNotFoundError:
                    continue
                except UnusableFile:
                    if is_regular(file):
                        self._disk.unlink(file, "refreshed.unlink")

    def _install(self, kept: _Refreshed) -> bool:
        """Put it in the place of the one it succeeds; where nothing can be told yet it stays where it is."""
        new, choice = Token(kept.token), self.find()
        if choice is None:
            return False
        present = choice.token.fingerprint
        if present == kept.succeeds:
            self.bindings.succeed(kept.succeeds, new.fingerprint)
            self._sources.write(new, kept.beneath)
            self._take_note(new.fingerprint)
        self._disk.unlink(self._refreshed_file, "refreshed.unlink")
        self._disk.unlink(self._refreshed_file.with_name(f"{REFRESHED_NAME}.tmp"), "refreshed.unlink")
        self._disk.sync_folder(self._folder, "refreshed.sync_folder")
        return present in {kept.succeeds, new.fingerprint}

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CredentialError(
                f"the device token cannot be kept in {self._folder} ({error.strerror})",
                "set it again when that is mended",
            ) from error

    @contextlib.contextmanager
    def _kept_in_mind(self, what: str) -> Iterator[None]:
        """A full card costs the note, not the token: until it is written, what is unknown is held."""
        try:
            yield
        except OSError as error:
            log.warning("could not be noted", action="lineage_unwritten", what=what, error=error)

    def _take_note(self, fingerprint: str) -> None:
        binding = self.bindings.of(fingerprint)
        with self._kept_in_mind("whose token is in use"):
            binding = self.bindings.note(fingerprint)
        self._binding = binding
        self._tell_binding()

    def _tell_binding(self) -> None:
        """Tell the recorder which binding is in force, before any call is made under it; it is never taken away."""
        file, binding = self._binding_file, self._binding
        if file is None or binding is None:
            return
        data = f"{binding}\n".encode()
        with self._kept_in_mind("which binding is in force"):
            try:
                if read_bytes(file, len(data)) == data:
                    return
            except (OSError, UnusableFile):
                if file.is_dir():
                    return
            self._disk.replace(file, data, "binding")


def credential_of(known: CredentialState, credentials: Credentials) -> CredentialStatus:
    """Return what is known about the token as ``status`` says it."""
    try:
        choice = credentials.find()
    except CredentialError:
        choice = None
    fingerprint = choice.token.fingerprint if choice is not None else credentials.hidden()
    if fingerprint is None:
        return CredentialStatus(CredentialState.MISSING)
    state = CredentialState.UNKNOWN if known is CredentialState.MISSING else known
    return CredentialStatus(state, fingerprint)


def in_use(credentials: Credentials) -> tuple[str | None, str | None]:
    """Return the fingerprint and the source of the token that counts for the service."""
    if hidden := credentials.hidden():
        return hidden, CREDENTIAL
    choice = credentials.find()
    return (choice.token.fingerprint, choice.source) if choice is not None else (None, None)
