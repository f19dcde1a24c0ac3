"""What an answer's headers say about time: ``Date``, ``Retry-After``, ``X-RateLimit-*`` (api.md section 5).

All results are seconds. An instant is turned into "from now" by the answer's own ``Date``, which needs no
right clock on our side; only where there is none does our wall clock serve.
"""

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from agent import bounds

_UNIX_FROM = 1_000_000_000.0  # 2001: numbers from here on are instants, smaller ones are seconds
_MILLIS_FROM = 1_000_000_000_000.0


class RateLimit(NamedTuple):
    """The last ``X-RateLimit-*`` headers seen; None is what the server did not say."""

    limit: int | None
    remaining: int | None
    reset_in: float | None
    """Seconds from the answer to the reset."""
    monotonic: float
    """When the answer came, by the monotonic clock."""


class ServerDate(NamedTuple):
    """A ``Date`` header of the API host, and when it arrived; all in seconds."""

    server: float
    """Unix time; the header counts whole seconds, so the true time was up to one second later."""
    wall: float
    """Our wall clock on arrival."""
    monotonic: float
    """Our monotonic clock on arrival."""
    round_trip: float
    """How long the call took: the header may be that much older than its arrival."""


def http_date(text: str) -> float | None:
    """Return an HTTP date in any of its three forms (RFC 9110 section 5.6.7) as unix seconds, else None."""
    if len(text) > bounds.TIME_CHARS:
        return None
    try:
        moment = parsedate_to_datetime(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def server_time(headers: Mapping[str, str]) -> float | None:
    """Return the ``Date`` of an answer as unix seconds, None when it is missing, unreadable or absurd."""
    moment = own_date(headers)
    return moment if moment is not None and bounds.is_plausible(moment) else None


def own_date(headers: Mapping[str, str]) -> float | None:
    """Return the ``Date`` as the server has it, right or wrong: for the time between it and another of its times."""
    text = headers.get("date")
    return http_date(text) if text else None


def retry_after(headers: Mapping[str, str], wall: float, most: float = bounds.PAUSE_SECONDS) -> float | None:
    """Return ``Retry-After`` (seconds or an HTTP date) as seconds from now, 0 to ``most``, else None."""
    text = headers.get("retry-after", "").strip()
    seconds = _number(text)
    if seconds is None and text:
        moment = http_date(text)
        if moment is not None:
            seconds = moment - _now(headers, wall)
    return None if seconds is None else min(max(seconds, 0.0), most)


def rate_limit_reset(headers: Mapping[str, str], wall: float) -> float | None:
    """Return ``X-RateLimit-Reset`` (unix seconds, or small numbers as seconds) as seconds from now.

    None when it is missing, or more than an hour away: that is a wrong clock, not a window.
    """
    value = _number(headers.get("x-ratelimit-reset", ""))
    if value is None:
        return None
    if value >= _UNIX_FROM:
        value = (value / 1000 if value >= _MILLIS_FROM else value) - _now(headers, wall)
    return None if value > bounds.WINDOW_SECONDS else max(value, 0.0)


def pause(headers: Mapping[str, str], wall: float) -> float | None:
    """Return how long a 429 pauses all calls, in seconds; None when the answer does not say."""
    asked = retry_after(headers, wall)
    return rate_limit_reset(headers, wall) if asked is None else asked


def rate_limit(headers: Mapping[str, str], wall: float, monotonic: float) -> RateLimit | None:
    """Return what the answer says about the rate limit, None when it says nothing."""
    limit = _count(headers.get("x-ratelimit-limit", ""))
    remaining = _count(headers.get("x-ratelimit-remaining", ""))
    reset_in = rate_limit_reset(headers, wall)
    if limit is None and remaining is None and reset_in is None:
        return None
    if limit is not None and remaining is not None:
        remaining = min(remaining, limit)
    return RateLimit(limit, remaining, reset_in, monotonic)


def _count(text: str) -> int | None:
    """Return a number of calls; None for what cannot be one."""
    value = _number(text)
    return None if value is None or not 0 <= value <= bounds.RATE_LIMIT else int(value)


def _now(headers: Mapping[str, str], wall: float) -> float:
    server = own_date(headers)
    return wall if server is None else server


def _number(text: str) -> float | None:
    if len(text) > bounds.TIME_CHARS:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def header_text(value: object) -> str | None:
    """Return what a header is to say, for a text, a number, or a list of one of them; None for anything else."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None


def is_sendable(value: str) -> bool:
    """Whether a header may say this."""
    return value.isascii() and (value.isprintable() or not value) and value == value.strip()
