"""Under which names the page may be asked for, and from where commands may come."""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

LONGEST = 255


def name_of(host: str) -> str | None:
    """Return the name in a Host header without its port; None for what is none."""
    if not host or len(host) > LONGEST:
        return None
    try:
        parts = urlsplit(f"//{host}")
        name = parts.hostname
        parts.port  # noqa: B018 - raises ValueError for what is no port
    except ValueError:
        return None
    is_bare = parts.username is None and not parts.path and not parts.query and not parts.fragment
    return name.rstrip(".") if name and is_bare else None


def is_ours(host: str, hostname: str) -> bool:
    """Return whether a Host header names this machine: an address, localhost, or its own name.

    A page of somebody else that lets its name lead here (DNS rebinding) sends its own name.
    """
    name = name_of(host)
    if name is None:
        return False
    own = hostname.lower().partition(".")[0]
    if name in {"localhost", own, f"{own}.local", hostname.lower()}:
        return True
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def is_of_this_page(headers: Mapping[str, str]) -> bool:
    """Return whether a request that changes something comes from a page of ours, as every browser says."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site != "same-origin":
        return False
    if origin is None:
        return site == "same-origin"
    host = headers.get("host")
    return bool(host) and origin in {f"http://{host}", f"https://{host}"}


def is_loopback(address: str) -> bool:
    """Return whether an address of a socket is reached from this machine alone; a Unix socket is."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return not address or address.startswith("/")
