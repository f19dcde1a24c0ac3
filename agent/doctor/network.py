"""Checks of the way to the API: name, connection and certificate, answer, device token."""

import contextlib
import socket
import ssl
from urllib.parse import urlsplit

from agent.api.client import RecordingsApi
from agent.api.device_token import Token
from agent.api.errors import ApiFailure, Busy, Offline, OfflineKind
from agent.clock import SystemClock
from agent.doctor.examination import Finding, critical, healthy, skipped, unknown, warning
from agent.doctor.local import left_before
from agent.errors import CredentialError
from agent.facade.context import Session
from agent.facade.credentials import credentials_of
from agent.hints import typed
from agent.index.earlier_place import bring_hint
from agent.process.state_directory import Process
from agent.status.board import CredentialState
from agent.token.file import HOW

CONNECT_SECONDS = 10.0
SET_TOKEN = f"{typed('token set')} with the token of this device"
PORTAL_HINT = "sign in to the portal of this network, or check api.base_url"
OFFLINE_HINT = "recording goes on, and what waits is delivered when the network is back"


def _target(session: Session) -> tuple[str, int, bool]:
    url = urlsplit(session.loaded.config.api.base_url)
    secure = url.scheme == "https"
    return url.hostname or "", url.port or (443 if secure else 80), secure


def dns(session: Session) -> Finding:
    """Look up the API's name."""
    host, port, _ = _target(session)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return critical(
            f"the name {host} cannot be looked up ({error.strerror})", f"check the network; {OFFLINE_HINT}"
        )
    return healthy(f"{host} is {found[0][4][0]}")


def tls(session: Session) -> Finding:
    """Connect, and look at the certificate."""
    host, port, secure = _target(session)
    try:
        with socket.create_connection((host, port), timeout=CONNECT_SECONDS) as raw:
            if not secure:
                return skipped(f"{host} is on this machine and needs no TLS")
            context = ssl.create_default_context(cafile=session.loaded.config.api.ca_file or None)
            with context.wrap_socket(raw, server_hostname=host) as wrapped:
                return healthy(f"{host} is trusted, with {wrapped.version()}")
    except ssl.SSLCertVerificationError as error:
        if "not yet valid" in error.verify_message:
            return critical(
                f"the certificate of {host} is not yet valid for this machine's clock",
                "`sudo timedatectl set-ntp true`, or set the clock by hand",
            )
        if "expired" in error.verify_message:
            return critical(
                f"the certificate of {host} has expired by this machine's clock",
                "set the clock if it is wrong; else the server needs a new certificate",
            )
        return critical(
            f"the certificate of {host} is not trusted ({error.verify_message})",
            "a captive portal or a proxy stands in between, or api.ca_file is missing",
        )
    except OSError as error:
        return critical(f"{host} port {port} cannot be reached ({error.strerror or error})", OFFLINE_HINT)


def _client(session: Session) -> RecordingsApi:
    """Return a client of the API that leaves no trace in the state directory."""
    return RecordingsApi(session.loaded.config.api, lambda: _token(session), SystemClock())


def _token(session: Session) -> Token:
    """Return the token that counts; CredentialError when there is none, or it cannot be used."""
    file = session.loaded.config.api.token_file
    choice = credentials_of(session).find()
    if choice is None:
        raise CredentialError(
            f"api.token_file {file} is not there" if file else "there is no device token yet", HOW
        )
    return choice.token


def api(session: Session) -> Finding:
    """Ask the API host for anything."""
    with contextlib.closing(_client(session)) as client:
        try:
            client.ask_date()
        except Offline as error:
            return critical(error.message, _offline_hint(error))
    return healthy("the API host answers")


def token(session: Session) -> Finding:
    """Ask the deliverer what the API said; without one, send a heartbeat without any field.

    The deliverer must be asked where it runs: the answer to a heartbeat may hold a command, which is given only once.
    """
    now = session.ask_status(Process.DELIVERER)
    if now is None:
        return _try_token(session)
    state, fingerprint = now.credential.state, now.credential.fingerprint
    if state is CredentialState.MISSING:
        return critical("the device token is missing", _where_the_token_is(session))
    if state is CredentialState.REFUSED:
        return critical("the device token is refused", SET_TOKEN)
    if state is CredentialState.UNKNOWN:
        return unknown(f"the device token {fingerprint} was not tried yet", "look again in a minute")
    return healthy(f"the API takes the device token {fingerprint}")


def _where_the_token_is(session: Session, otherwise: str = SET_TOKEN) -> str:
    """Return what to do without a token: the one of an earlier state directory may only have stayed behind."""
    left = left_before(session)
    return bring_hint(left) if left is not None and left.has_token else otherwise


def _try_token(session: Session) -> Finding:
    with contextlib.closing(_client(session)) as client:
        try:
            fingerprint = _token(session).fingerprint
            answer = client.heartbeat({})
        except CredentialError as error:
            return critical(error.message, _where_the_token_is(session, error.hint or SET_TOKEN))
        except Busy as error:
            return warning(error.message, "look again later")
        except Offline as error:
            return critical(error.message, _offline_hint(error))
        except ApiFailure as error:
            return critical(error.message, "check api.base_url")
    if not answer:  # api.md section 6: the deliverer takes that for an answer, whoever gave it
        host, _, _ = _target(session)
        return critical(f"something else answers in the place of the API at {host}", PORTAL_HINT)
    return healthy(f"the API takes the device token {fingerprint}")


def _offline_hint(error: Offline) -> str:
    return PORTAL_HINT if error.kind is OfflineKind.PORTAL else OFFLINE_HINT
