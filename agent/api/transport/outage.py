"""Which kind of outage an exception of httpx is, by what lies beneath it."""

import socket
import ssl
from collections.abc import Iterator

import httpx

from agent.api.errors import Offline, OfflineKind

_NOT_YET_VALID = 9  # X509_V_ERR_CERT_NOT_YET_VALID
_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED


def outage(error: Exception, host: str, *, proxy: str | None = None) -> Offline:
    """Return the failure that ``error`` is; its sentence holds nothing of the request but ``host``."""
    by_way = f" through the proxy {proxy}" if proxy else ""
    if isinstance(error, httpx.ProxyError):
        return Offline(
            f"The proxy on the way to {host} refused the connection",
            "check HTTPS_PROXY of the service.",
            kind=OfflineKind.PROXY,
        )
    if isinstance(error, httpx.TimeoutException):
        connected = not isinstance(error, httpx.ConnectTimeout)
        doing = "answer" if connected else "connect"
        return Offline(
            f"{host} did not {doing} in time{by_way}",
            "check the network.",
            kind=OfflineKind.TIMEOUT,
            connected=connected,
        )
    roots = tuple(_chain(error))
    for root in roots:
        if isinstance(root, ssl.SSLCertVerificationError):
            return _certificate(root, host)
    if any(isinstance(root, socket.gaierror | UnicodeError) for root in roots):
        name = proxy or host
        return Offline(
            f"The name {name} could not be resolved", "check the network's DNS.", kind=OfflineKind.DNS
        )
    if any(isinstance(root, ssl.SSLError) for root in roots) and isinstance(error, httpx.ConnectError):
        return Offline(
            f"No secure connection to {host}{by_way} (TLS failed)",
            "a captive portal, a proxy or a wrong port is in the way.",
            kind=OfflineKind.TLS,
        )
    if isinstance(error, httpx.ConnectError):
        return Offline(
            f"No connection to {host}{by_way}{_reason(roots)}", "check the network.", kind=OfflineKind.CONNECT
        )
    return Offline(
        f"The connection to {host} broke{by_way}, or its answer was cut short",
        "check the network.",
        kind=OfflineKind.RESET,
    )


def _certificate(error: ssl.SSLCertVerificationError, host: str) -> Offline:
    if error.verify_code == _NOT_YET_VALID:
        return Offline(
            f"The certificate of {host} is not yet valid by this machine's clock, which is probably wrong",
            "wait for time synchronisation or set it.",
            kind=OfflineKind.CLOCK,
        )
    if error.verify_code == _EXPIRED:
        return Offline(
            f"The certificate of {host} has expired, or this machine's clock runs ahead",
            "check the clock.",
            kind=OfflineKind.TLS,
        )
    return Offline(
        f"The certificate of {host} is not trusted ({error.verify_message})",
        "a captive portal or proxy is in the way, or api.ca_file is missing.",
        kind=OfflineKind.TLS,
    )


def _reason(roots: tuple[BaseException, ...]) -> str:
    said = next((root.strerror for root in roots if isinstance(root, OSError) and root.strerror), None)
    return f" ({said})" if said else ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error`` and all that lies beneath it, nearest first."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [current.__cause__, current.__context__]
