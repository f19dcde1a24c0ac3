"""How long to wait before the next try: full jitter, a server's Retry-After, and the waits after a 425."""

import random

_VERIFYING_FIRST = (2.0, 4.0, 8.0)
_VERIFYING_THEN = 10.0
_VERIFYING_FOR = 300.0
_MOST_DOUBLINGS = 64


class Backoff:
    """Full-jitter exponential backoff, in seconds; keeps no state but its randomness.

    ``base`` bounds the first wait, ``cap`` all of them. A wait is never below a tenth of its longest: a draw close
    to zero would be no wait at all.
    """

    def __init__(self, base: float = 1.0, cap: float = 300.0, *, rng: random.Random) -> None:
        if not 0 < base <= cap:
            raise ValueError(f"a backoff needs 0 < base <= cap, not base {base} and cap {cap}")
        self._base = base
        self._cap = cap
        self._rng = rng

    def ceiling(self, attempt: int) -> float:
        """Return the longest wait after failure number ``attempt`` (0 is the first), in seconds."""
        return float(min(self._cap, self._base * 2.0 ** min(max(attempt, 0), _MOST_DOUBLINGS)))

    def delay(self, attempt: int) -> float:
        """Return a wait drawn evenly from a tenth of ``ceiling(attempt)`` to all of it, in seconds."""
        longest = self.ceiling(attempt)
        return self._rng.uniform(longest / 10, longest)

    def delay_after(self, attempt: int, retry_after: float | None) -> float:
        """Return a wait that is never shorter than the server's ``retry_after``, in seconds.

        The draw is added to it: a fleet that was told one instant must not come back in one instant.
        """
        return max(retry_after or 0.0, 0.0) + self.delay(attempt)


def verifying_delay(answers: int) -> float | None:
    """Return the wait after ``answers`` answers of 425 in a row, or None once 5 minutes are used up.

    The waits are 2, 4, 8, 10, 10, … seconds and add up to at most 300 (api.md section 4).
    """
    if answers < 1:
        raise ValueError("there is no wait before the first answer of 425")
    if answers <= len(_VERIFYING_FIRST):
        return _VERIFYING_FIRST[answers - 1]
    waited = sum(_VERIFYING_FIRST) + (answers - len(_VERIFYING_FIRST)) * _VERIFYING_THEN
    return _VERIFYING_THEN if waited <= _VERIFYING_FOR else None
