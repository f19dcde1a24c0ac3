"""Checks of the way to the API: name, connection and certificate, answer, device token."""

import contextlib
import os
import socket
import ssl
import time
from urllib.parse import urlsplit

from agent.context import Session
from agent.doctor.examination import Finding, critical, healthy, skipped, unknown, warning
from agent.errors import CredentialError
from agent.status.control import NoDaemon, ask
from agent.sync.api import RecordingsApi
from agent.sync.credentials import Credentials
from agent.sync.failures import ApiFailure, Busy, Offline, OfflineKind

CONNECT_SECONDS = 10.0
SET_TOKEN = "`recorder-agent token set` with the token of this device"  # noqa: S105 - a hint
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
                "the clock is wrong: set it",
            )
        return critical(
            f"the certificate of {host} is not trusted ({error.verify_message})",
            "a captive portal or a proxy stands in between, or api.ca_file is missing",
        )
    except OSError as error:
        return critical(f"{host} port {port} cannot be reached ({error.strerror or error})", OFFLINE_HINT)


def _client(session: Session) -> RecordingsApi:
    """Return a client of the API that leaves no trace in the state directory."""
    config = session.loaded.config.api
    credentials = Credentials(session.state.path, config.token_file, os.environ)
    return RecordingsApi(config, credentials.token, wall=time.time, monotonic=time.monotonic)


def api(session: Session) -> Finding:
    """Ask the API host for anything."""
    with contextlib.closing(_client(session)) as client:
        try:
            client.ask_date()
        except Offline as error:
            hint = "sign in to the portal" if error.kind is OfflineKind.PORTAL else OFFLINE_HINT
            return critical(str(error), hint)
    return healthy("the API host answers")


def token(session: Session) -> Finding:
    """Ask the daemon what the API said; without one, send a heartbeat without any field.

    The daemon must be asked where it runs: the answer to a heartbeat may hold a command, which is given only once.
    """
    try:
        known = ask(session.state.socket, {"command": "status"})["credential"]
    except NoDaemon:
        return _try_token(session)
    if known["state"] in {"missing", "refused"}:
        return critical(f"the device token is {known['state']}", SET_TOKEN)
    if known["state"] == "unknown":
        return unknown(f"the device token {known['fingerprint']} was not tried yet", "look again in a minute")
    return healthy(f"the API takes the device token {known['fingerprint']}")


def _try_token(session: Session) -> Finding:
    credentials = Credentials(session.state.path, session.loaded.config.api.token_file, os.environ)
    with contextlib.closing(_client(session)) as client:
        try:
            fingerprint = credentials.token().fingerprint
            client.heartbeat({})
        except CredentialError as error:
            return critical(str(error), SET_TOKEN)
        except Busy as error:
            return warning(str(error), "look again later")
        except ApiFailure as error:
            return critical(str(error), "check api.base_url")
    return healthy(f"the API takes the device token {fingerprint}")
