"""TLS for the sandbox: an authority of its own, made once per directory."""

import os
import socket
from pathlib import Path

import trustme


def is_wildcard(host: str) -> bool:
    """Return whether the host means all addresses of this machine."""
    return host in {"", "0.0.0.0", "::"}  # noqa: S104 - recognised, not bound


def reachable_name(host: str) -> str:
    """Return the host as a client writes it: the machine's name for a wildcard."""
    return socket.gethostname() if is_wildcard(host) else host


class Authority:
    """``ca.pem`` to trust, and the server's certificate signed by it; the same CA after a restart."""

    def __init__(self, directory: Path) -> None:
        self.ca_file = directory / "ca.pem"
        self._key_file = directory / "ca-key.pem"
        self._server_file = directory / "server.pem"

    def certify(self, host: str) -> Path:
        """Return a PEM file with key and certificate chain for the host and for loopback."""
        authority = self._authority()
        names = {"localhost", "127.0.0.1", "::1", reachable_name(host)}
        if is_wildcard(host):
            names |= {f"{socket.gethostname()}.local", *_own_addresses()}
        certificate = authority.issue_cert(*sorted(names))
        _write_private(self._server_file, certificate.private_key_and_cert_chain_pem.bytes())
        return self._server_file

    def _authority(self) -> trustme.CA:
        if self.ca_file.exists() and self._key_file.exists():
            return trustme.CA.from_pem(self.ca_file.read_bytes(), self._key_file.read_bytes())
        authority = trustme.CA(organization_name="recorder-agent sandbox")
        _write_private(self._key_file, authority.private_key_pem.bytes())
        self.ca_file.write_bytes(authority.cert_pem.bytes())
        return authority


def _own_addresses() -> set[str]:
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {str(address[0]).partition("%")[0] for *_, address in found}


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
