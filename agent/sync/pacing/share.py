"""A fair share of a limit that a whole fleet draws on, found from nothing but ``X-RateLimit-*`` of our own answers.

No device knows how many others there are. What each of them sees, because all draw on one window, is how much of the
limit is used up by now (``used``) and how much of the window is over (``elapsed``). From that each steers its *share*:

    Alone     While the window is used up no faster than it passes, the share is 1 and nothing is held back.
    Crowded   Once more than 60 % is used, and that faster than the window passes, the share becomes a cautious reading
              of what we used ourselves of all that was used: the number of equals turned upside down.
    Steering  From then on the share follows the window: it shrinks while the window is used up faster than it passes
              and grows while slower, in proportion to the time between two answers, so that all devices, who see the
              same figures, move alike. A 429 shrinks it at once. From a half upwards it is 1 again.
    Evening   All the while every share is drawn a little towards the same middle, so that none stays behind.
    Pace      The next piece of work begins when share × (left ÷ time left) × time has added up to its cost, times a
              random factor. As what is left is the factor, a share that is wrong by half empties no window: the fleet
              slows down as the window runs out, and speeds up when something was left over. After the reset the same
              goes on with a full window, so nobody starts at the instant of the reset.

Written for fixed windows. A sliding window whose reset is the end of its oldest call looks like the end of a window
for ever; the rate is therefore never taken as more than a little above limit ÷ window.
"""

import math
import random
from collections.abc import Callable

from agent import bounds
from agent.api.headers import RateLimit

WINDOW = 60.0
"""Seconds over which a limit counts, until an answer shows a longer window (api.md section 5)."""
CROWDED_FROM = 0.6
"""The part of a limit that must be used before anybody is held back."""
ALONE_FROM = 0.5
"""With a share from here on nobody else needs room."""
TARGET = 0.95
"""How much of a window is meant to be used by its end."""
GAIN = 2.0
"""How strongly the share follows, per window."""
MIDDLE = 0.008
"""The share that all are drawn towards, lest differences between equals last: that of one in a fleet of a hundred."""
EVENING = 0.1
"""How strongly they are drawn, per window."""
SMALLEST = 1e-4
AFTER_RESET = 15.0
"""Seconds over which calls spread out that waited for a reset."""
REFUSED_FACTOR = 0.8
JITTER = (0.6, 1.4)
FASTEST = 1.3
"""Times limit ÷ window: the most that the rate of what is left may be taken for."""


class Share:
    """One limit, and how fast this device may draw on it. Not thread-safe; all times are monotonic seconds.

    A piece of work (a recording) takes ``cost`` calls. ``begun`` says that one begins: the next has to earn its turn.
    """

    def __init__(self, cost: int, rng: random.Random, monotonic: Callable[[], float]) -> None:
        self._cost = cost
        self._rng = rng
        self._monotonic = monotonic
        self._seen: RateLimit | None = None
        self._window = WINDOW
        self._resets_at = -math.inf
        self._own = 0
        self.share = 1.0
        self._earned = math.inf
        self._needed = 0.0
        self._earned_at = self._begun_at = monotonic()

    @property
    def crowded(self) -> bool:
        """Whether others need so much of the limit that this device holds itself back."""
        return self.share < ALONE_FROM

    @property
    def seconds_each(self) -> float:
        """How far apart pieces of work begin at the present share, on the average; 0 while nothing is held back."""
        limit = self.limit
        return self._cost * self._window / (self.share * limit) if self.crowded and limit else 0.0

    @property
    def limit(self) -> int | None:
        """Calls in a window, as the server last said; None while it has not."""
        return None if self._seen is None else self._seen.limit

    def learn(self, said: RateLimit, *, refused: bool = False) -> None:
        """Take an answer's figures; those without limit, remaining and reset teach nothing."""
        if said.limit is None or said.remaining is None or said.reset_in is None or said.limit < 1:
            return
        self._earn()
        before, self._seen = self._seen, said
        if before is not None:
            self._even_out(said.monotonic - before.monotonic)
        now = said.monotonic
        if (
            now + said.reset_in < self._resets_at - self._window / 4
        ):  # the window was never as long as it seemed
            self._window, before = WINDOW, None
            self._own = 0
        self._window = max(self._window, said.reset_in)
        if now + said.reset_in > self._resets_at + self._window / 4:
            self._own = 0
            before = None
        self._resets_at = now + said.reset_in
        self._own += not refused
        self._steer(said.limit, said.remaining, said.reset_in, now - before.monotonic if before else None)
        if refused:
            self._multiply(REFUSED_FACTOR)

    def room(self, reserve: float) -> float:
        """Return the seconds to wait because no more than ``reserve`` of the limit is left; 0 while there is more.

        No answer holds calls back for longer than ``bounds.PACING_SECONDS``.
        """
        seen, now = self._seen, self._monotonic()
        if seen is None or seen.limit is None or seen.remaining is None or now >= self._resets_at:
            return 0.0
        most = seen.monotonic + bounds.PACING_SECONDS - now
        if seen.remaining > reserve * seen.limit or most <= 0:
            return 0.0
        return min(self._resets_at - now + self._rng.uniform(0.0, AFTER_RESET), most)

    def _steer(self, limit: int, remaining: int, reset_in: float, since: float | None) -> None:
        used = min(1.0, 1 - remaining / limit)
        elapsed = max(1 - reset_in / self._window, 1 / self._window)
        if not self.crowded:
            if used >= CROWDED_FROM and used > elapsed * TARGET:
                ours = max(1, self._own) / max(1, limit - remaining)
                self.share = min(1.0, ours, math.sqrt(ours * MIDDLE) if ours < ALONE_FROM else 1.0)
            else:
                self.share = 1.0
            return
        if elapsed < _TELLING:
            return
        step = (elapsed * self._window if since is None else since) / self._window
        ahead = min(2.0, used / elapsed) - TARGET
        self._multiply(math.exp(-GAIN * ahead * min(step, 1.0)))

    def _even_out(self, seconds: float) -> None:
        """Draw the share towards the middle, for as long as nothing was heard."""
        if self.crowded:
            self._multiply((MIDDLE / self.share) ** (1 - math.exp(-EVENING * seconds / self._window)))

    def _multiply(self, factor: float) -> None:
        self.share = min(1.0, max(SMALLEST, self.share * factor))

    # pace

    def begun(self) -> None:
        """A piece of work begins; the next one has to wait for its turn."""
        self._earned, self._earned_at = 0.0, self._monotonic()
        self._begun_at = self._earned_at
        self._needed = self._cost * self._rng.uniform(*JITTER)

    def wait(self) -> float:
        """Return the seconds until the next piece of work may begin, 0 for now; at most ``bounds.PACING_SECONDS``."""
        self._earn()
        missing, now = self._needed - self._earned, self._monotonic()
        most = self._begun_at + bounds.PACING_SECONDS - now
        if missing <= _ALMOST_NOTHING or not self.crowded or most <= 0:
            return 0.0
        to_reset = max(0.0, self._resets_at - now)
        rate = self._rate(now)
        if missing <= rate * to_reset:
            return min(missing / rate, most)
        return min(to_reset + (missing - rate * to_reset) / self._rate(now + to_reset), most)

    def forget(self) -> None:
        """Hold nothing back until an answer speaks of the limit again."""
        self._seen, self.share = None, 1.0
        self._resets_at, self._own = -math.inf, 0

    def _earn(self) -> None:
        """Add what was earned since the last look, by what was known then."""
        now, since = self._monotonic(), self._earned_at
        if self._seen is None:
            self._earned_at = now
            return
        before_reset = max(0.0, min(now, self._resets_at) - since)
        self._earned += before_reset * self._rate(since) + (now - since - before_reset) * self._rate(math.inf)
        self._earned_at = now

    def _rate(self, when: float) -> float:
        """Return how many calls a second this device may make: by what is left, or by a full window after it."""
        seen = self._seen
        if seen is None or seen.limit is None or seen.remaining is None or seen.reset_in is None:
            return math.inf
        even = seen.limit / self._window
        if when < self._resets_at:
            left = seen.remaining / max(seen.reset_in, 1.0)
            even = min(left, even * FASTEST)
        return self.share * even


_TELLING = 0.2
"""The part of a window that must be over before its use says anything."""
_ALMOST_NOTHING = 1e-6
