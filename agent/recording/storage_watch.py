"""How often the room on the disk is looked at, and when a full or failing one is tried again."""

from collections.abc import Callable

CHECK_SECONDS = 5.0
"""While recording: so many seconds of time, or of sound from a file."""
RETRY_SECONDS = 10.0
"""While there is no room."""


class StorageWatch:
    """``problem`` returns a sentence when there is no room; it is given whether the disk was full until now."""

    def __init__(self, problem: Callable[[bool], str | None], monotonic: Callable[[], float]) -> None:
        self._problem = problem
        self._monotonic = monotonic
        self._check_at = self._retry_at = 0.0
        self._check_samples = 0

    def problem_to_begin(self, *, was_full: bool) -> str | None:
        """Return why nothing can be begun; one that was full is asked for a margin."""
        return self._problem(was_full)

    def problem_while_recording(self, samples: int, sample_rate: int) -> str | None:
        """Return why the session, of so many samples, cannot go on; None also when it is too early to look again."""
        now = self._monotonic()
        if now < self._check_at and samples < self._check_samples:
            return None
        self._check_at = now + CHECK_SECONDS
        self._check_samples = samples + round(CHECK_SECONDS * sample_rate)
        return self._problem(False)

    def failed(self) -> None:
        """The disk is full or refuses: leave it alone for a while."""
        self._retry_at = self._monotonic() + RETRY_SECONDS

    @property
    def rests(self) -> bool:
        """Whether it is too early to try the disk again."""
        return self._monotonic() < self._retry_at
