"""URLs that may be called, and what of them may be shown."""

import ipaddress
from urllib.parse import quote, urlsplit

import httpx

from agent.errors import ConfigError
from agent.sync.client.failures import Untrusted
from agent.sync.client.words import clean

_LONGEST_HOST = 100


def host_of(url: str) -> str:
    """Return the host of a URL, with its port if it names one; never credentials, path or query."""
    try:
        host = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        host = ""
    return clean(host, longest=_LONGEST_HOST) or "an unnamed host"


def segment(opaque: str) -> str:
    """Return an opaque id as one path segment; dots are quoted too, lest an id of ``..`` becomes a step."""
    return quote(opaque, safe="").replace(".", "%2E")


def base_url(text: str) -> str:
    """Return the API's base URL without a slash at its end.

    Raises:
        ConfigError: it is not one of https (or of http to loopback) with host and path alone.
    """
    trimmed = text.rstrip("/")
    url = _parsed(trimmed)
    if url is None or not url.host or url.query or url.fragment or url.userinfo:
        raise ConfigError(
            "api.base_url cannot be used; give it as https://host/path, without user, query or fragment."
        )
    if not _is_safe(url):
        raise ConfigError(
            "api.base_url must begin with https://; plain http is allowed to this machine alone (127.0.0.1)."
        )
    return trimmed


def check_storage_url(text: str) -> None:
    """Let pass what is https, or http to loopback.

    Raises:
        Untrusted: anything else.
    """
    url = _parsed(text)
    if url is None or not url.host or url.userinfo or not _is_safe(url):
        raise Untrusted(
            f"The API named an upload URL that is not https (host {host_of(text)}); the file is kept."
        )


def _parsed(text: str) -> httpx.URL | None:
    try:
        return httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        return None


def _is_safe(url: httpx.URL) -> bool:
    """Tell whether nobody on the way can read along: https, or http that stays on this machine."""
    if url.scheme != "http":
        return url.scheme == "https"
    try:
        return ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return url.host == "localhost"
