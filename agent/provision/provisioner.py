"""Takes over what a folder brings, or refuses it (the package's docstring has the order and the reason)."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.config.loader import LoadedConfig, load, locate
from agent.config.schema import SYSTEM_FILE, Config
from agent.control.server import ask
from agent.disk import Disk
from agent.errors import AgentError, ConfigError, CredentialError
from agent.facade.context import Session
from agent.facade.credentials import credentials_of
from agent.process import state_directory
from agent.process.state_directory import Process
from agent.provision.offer import CERTIFICATE, CONFIG, TOKEN, Offer, RefusedOffer, parsed, read_offer
from agent.provision.owner import as_owner, is_writable, make_state
from agent.provision.wiping import wipe
from agent.small_file import UnusableFile, load_or_none, read_bytes
from agent.token.store import in_use

MEMORY = "provisioned.json"
"""Beside the settings: what was taken over last, so that a card is taken over once, and not at each boot."""
MODE = 0o644
ALLOW = "the owner allows that with replace_token = true in [provision] of the settings in use"
UNREADABLE = "unreadable"
"""Stands for the fingerprint of a token that is there and cannot be read."""


class Provisioned(msgspec.Struct, frozen=True):
    """SHA-256 of what was taken over last; a person may have changed it since."""

    config: str = ""
    certificate: str = ""


PROVISIONED = msgspec.json.Decoder(Provisioned)


class Taken(NamedTuple):
    """What became of a folder's offer."""

    sentences: list[str]
    """What was taken over; none where there was nothing new."""
    token_stays: str | None = None
    """Why the token could not be removed from the folder."""
    changes_settings: bool = False


class Provisioner:
    """One for a call of the command line; ``take`` for each folder."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._file = locate(session.config_path, os.environ, SYSTEM_FILE) or SYSTEM_FILE
        self._disk = Disk()

    @property
    def certificate_file(self) -> Path:
        """Where a certificate is put."""
        return self._file.with_name(CERTIFICATE)

    def take(self, folder: Path) -> Taken:
        """Take over what a folder brings and has not brought before.

        Raises:
            RefusedOffer: it is not taken, and nothing was changed.
            AgentError: taking it over failed; it is tried again at the next start.
        """
        try:
            return self._take(folder)
        except OSError as error:
            raise AgentError(
                f"{error.filename or folder}: {error.strerror or error}", "free or repair it"
            ) from error

    def _take(self, folder: Path) -> Taken:
        offer = read_offer(folder)
        known = load_or_none(self._file.with_name(MEMORY), PROVISIONED) or Provisioned()
        new = offer._replace(
            config=offer.config if offer.config is not None and _hash(offer.config) != known.config else None,
            certificate=offer.certificate
            if offer.certificate is not None and _hash(offer.certificate) != known.certificate
            else None,
        )
        if new.token is not None and not is_writable(folder):
            raise RefusedOffer(
                f"{TOKEN}: cannot be removed from here, because nothing here can be changed",
                "take the write protection away",
            )
        before = self._before()
        config = before if new.config is None else (parsed(new.config)[0] or before)
        after = self._session_with(config)
        present = {self._token_in(each) for each in (self._session_with(before), after)} - {""}
        self._judge(new, before, config, present)
        if new.token is not None:
            make_state(after.state)
        sentences = self._install(new, known)
        if new.token is None:
            return Taken(sentences, changes_settings=bool(sentences))
        changes = bool(sentences)
        is_new = present != {new.token.fingerprint}
        if is_new:
            self._store(after, new)
        sentences.append(f"{TOKEN} ({new.token.fingerprint}) {'is' if is_new else 'was'} in use")
        return Taken(sentences, self._wiped(folder / TOKEN), changes)

    # what may be taken

    def _judge(self, new: Offer, before: Config, config: Config, present: set[str]) -> None:
        allowed = before.provision.replace_token
        is_second = new.token is not None and bool(present - {new.token.fingerprint})
        if is_second and not allowed:
            raise RefusedOffer(
                f"{TOKEN}: there is a device token already, and a stick may not replace it",
                ALLOW,
            )
        if present and not allowed:
            elsewhere = [
                key
                for key, one, other in (
                    ("api.base_url", before.api.base_url, config.api.base_url),
                    ("api.ca_file", before.api.ca_file, config.api.ca_file),
                    ("hooks.on_fault", before.hooks.on_fault, config.hooks.on_fault),  # runs beside the token
                    ("provision.replace_token", False, config.provision.replace_token),
                )
                if one != other
            ]
            if new.certificate is not None and before.api.ca_file == str(self.certificate_file):
                elsewhere += [CERTIFICATE] if self._differs(self.certificate_file, new.certificate) else []
            if elsewhere:
                raise RefusedOffer(
                    f"{CONFIG}: a stick may not change who gets the device token that is set "
                    f"({', '.join(elsewhere)})",
                    ALLOW,
                )
        if new.certificate is not None and config.api.ca_file != str(self.certificate_file):
            raise RefusedOffer(
                f"{CERTIFICATE}: no setting names it",
                f'write ca_file = "{self.certificate_file}" under [api] of {CONFIG}',
            )

    def _before(self) -> Config:
        """Return the settings in use; where they are wrong, the defaults, which allow nothing."""
        try:
            return load(self._session.config_path, os.environ).config
        except ConfigError:
            return Config()

    def _session_with(self, config: Config) -> Session:
        session = Session(self._file)
        session.use(LoadedConfig(config, self._file))
        return session

    def _token_in(self, session: Session) -> str:
        """Return the fingerprint of the token that is set, empty for none."""
        if not session.state.path.exists() and not session.loaded.config.api.token_file:
            return ""

        def look() -> str:
            try:
                return in_use(credentials_of(session))[0] or ""
            except CredentialError:
                return UNREADABLE

        return as_owner(session.state, look) or ""

    # taking it over

    def _install(self, new: Offer, known: Provisioned) -> list[str]:
        sentences: list[str] = []
        for name, data, path in (
            (CERTIFICATE, new.certificate, self.certificate_file),
            (CONFIG, new.config, self._file),
        ):
            if data is None:
                continue
            if self._differs(path, data):
                self._put(path, data)
                sentences.append(f"{name} is in use")
        if new.config is not None or new.certificate is not None:
            now = Provisioned(
                known.config if new.config is None else _hash(new.config),
                known.certificate if new.certificate is None else _hash(new.certificate),
            )
            self._put(self._file.with_name(MEMORY), msgspec.json.encode(now))
        return sentences

    def _put(self, path: Path, data: bytes) -> None:
        """Give a file new contents, durably, readable for all."""
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._disk.replace(path, data, "provision", lambda descriptor: os.fchmod(descriptor, MODE))

    @staticmethod
    def _differs(path: Path, data: bytes) -> bool:
        try:
            return read_bytes(path) != data
        except (OSError, UnusableFile):
            return True

    @staticmethod
    def _store(session: Session, offer: Offer) -> None:
        """Set the token as its owner; where a deliverer runs it does that, and tries it."""
        token = offer.token
        if token is None:
            return

        def store() -> str | None:
            session.enter()
            if session.serves(Process.DELIVERER):
                ask(session.state.delivery_socket, {"command": "token", "token": token.reveal()})
                return None
            with session.lock(Process.DELIVERER):
                credentials_of(session).store(token)
            return None

        as_owner(state_directory.resolve(session.loaded, os.environ), store)

    def _wiped(self, path: Path) -> str | None:
        """Overwrite and remove the token's file; return why that failed."""
        try:
            wipe(path, self._disk)
        except OSError as error:
            return error.strerror or str(error)
        return None


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
