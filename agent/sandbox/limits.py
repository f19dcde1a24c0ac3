"""The API's rate limits: fixed windows of a minute, shared by all devices of the project (api.md 5)."""

import math
from collections.abc import Callable
from typing import NamedTuple

from agent.sandbox.faults import Call
from agent.sandbox.model import Switches
from agent.sandbox.web.answers import ApiError

WINDOW_SECONDS = 60


class Quota(NamedTuple):
    """What is left of the tightest window that a call counts in."""

    limit: int
    remaining: int
    resets_at: int
    """Unix seconds."""

    def headers(self, switches: Switches, now: float) -> dict[str, str]:
        """Return the X-RateLimit headers."""
        if not switches.rate_limit_headers:
            return {}
        left = max(1, math.ceil(self.resets_at - now))
        reset = self.resets_at if switches.rate_limit_reset == "unix" else left
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(reset),
        }


class Limiter:
    """Counts calls per window; the limits themselves are switches and may change at any time."""

    def __init__(self, switches: Switches, now: Callable[[], float]) -> None:
        self._switches = switches
        self._now = now
        self._window = 0
        self._counts: dict[str, int] = {}

    def admit(self, call: Call) -> dict[str, str]:
        """Count one call and return the headers of its answer.

        Raises:
            ApiError: 429, a window is full; the call was not counted.
        """
        now = self._now()
        window = int(now // WINDOW_SECONDS)
        if window != self._window:
            self._window, self._counts = window, {}
        resets_at = (window + 1) * WINDOW_SECONDS
        limits = self._limits(call)
        if not limits:
            return {}
        name = min(limits, key=lambda each: limits[each] - self._counts.get(each, 0))
        left = limits[name] - self._counts.get(name, 0)
        quota = Quota(limits[name], max(0, left - 1), resets_at)
        headers = quota.headers(self._switches, now)
        if left <= 0:
            if self._switches.retry_after:
                headers["Retry-After"] = str(max(1, math.ceil(resets_at - now)))
            raise ApiError(429, "rate_limit_exceeded", f"More than {limits[name]} {name}.", headers=headers)
        for each in limits:
            self._counts[each] = self._counts.get(each, 0) + 1
        return headers

    def _limits(self, call: Call) -> dict[str, int]:
        limits = {"requests a minute": self._switches.requests_per_minute}
        if call is Call.UPLOAD_URL:
            limits["upload URLs a minute"] = self._switches.upload_urls_per_minute
        return {name: limit for name, limit in limits.items() if limit > 0}
