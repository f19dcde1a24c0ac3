"""URLs that may be called, and what of them may be shown."""

import functools
from urllib.parse import quote, urlsplit

import httpx

from agent import bounds
from agent.api.errors import NOT_USED, InvalidResponse
from agent.api.server_words import clean
from agent.config import values
from agent.errors import ConfigError

_LONGEST_HOST = 100
_LAST_PORT = 65_535


def host_of(url: str) -> str:
    """Return the host of a URL, with its port if it names one; never credentials, path or query."""
    try:
        host = urlsplit(url[: bounds.URL_CHARS]).netloc.rpartition("@")[2]
    except ValueError:
        host = ""
    return clean(host, longest=_LONGEST_HOST) or "an unnamed host"


@functools.lru_cache(maxsize=4)
def parse(text: str) -> httpx.URL:
    """Return a URL as httpx has it, which looks at each of its characters in Python: the last few are kept.

    Raises:
        httpx.InvalidURL, ValueError: it is none.
    """
    return httpx.URL(text)


def segment(opaque: str) -> str:
    """Return an opaque id as one path segment; dots are quoted too, lest an id of ``..`` becomes a step."""
    return quote(opaque, safe="").replace(".", "%2E")


def base_url(text: str) -> str:
    """Return the API's base URL without a slash at its end.

    Raises:
        ConfigError: it is not one of https (or of http to loopback) with host and path alone.
    """
    trimmed = text.rstrip("/")
    complaint = values.base_url(trimmed)
    if complaint is None and _parsed(trimmed) is None:
        complaint = "is no address that can be called; write one like https://api.bota.dev/v1"
    if complaint is not None:
        raise ConfigError(f"api.base_url {complaint}", "mend that in the settings")
    return trimmed


def is_loopback(text: str) -> bool:
    """Tell whether a URL that can be used leads to this machine itself."""
    url = _parsed(text)
    return url is not None and values.is_loopback_host(url.host)


def check_storage_url(text: str, *, loopback: bool) -> None:
    """Let pass what is https; http and this machine itself only where the API is on this machine (``loopback``).

    Raises:
        InvalidResponse: anything else.
    """
    url = _parsed(text)
    if url is None or not _is_a_name(url.host) or url.userinfo:
        raise InvalidResponse(
            f"The API named an upload URL that cannot be used (host {host_of(text)})", NOT_USED
        )
    if values.is_loopback_host(url.host) and not loopback:
        raise InvalidResponse(
            f"The API named an upload URL on this very machine (host {host_of(text)})", NOT_USED
        )
    if not _is_safe(url):
        raise InvalidResponse(
            f"The API named an upload URL that is not https (host {host_of(text)})", NOT_USED
        )


def _parsed(text: str) -> httpx.URL | None:
    """Return a URL whose host and port can be used too: those are read late, and then raise."""
    if len(text) > bounds.URL_CHARS:
        return None
    try:
        url = parse(text)
        if url.host and url.raw_host and (url.port is None or 0 < url.port <= _LAST_PORT):
            return url
    except (httpx.InvalidURL, ValueError):  # UnicodeError, which idna raises, is a ValueError
        pass
    return None


def _is_a_name(host: str) -> bool:
    """Tell whether the resolver can be asked for a host at all."""
    try:
        return bool(host.encode("idna"))
    except UnicodeError:
        return False


def _is_safe(url: httpx.URL) -> bool:
    """Tell whether nobody on the way can read along: https, or http that stays on this machine."""
    if url.scheme != "http":
        return url.scheme == "https"
    return values.is_loopback_host(url.host)
