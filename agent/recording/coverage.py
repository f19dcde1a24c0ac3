"""From when to when nothing was recorded although it should have been: one open gap at a time."""

from collections.abc import Callable

import structlog

from agent.recording.clock import Instant
from agent.recording.ledger import Cause, Gap, Ledger

log = structlog.get_logger()


class Coverage:
    """Opens and closes gaps as the recorder tells it; each is written when it opens and again when it closes."""

    def __init__(self, ledger: Ledger, apart_ms: Callable[[Instant, Instant], int | None]) -> None:
        self._ledger = ledger
        self._apart_ms = apart_ms
        self._open: Gap | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing is being recorded although it should be."""
        return self._open is not None

    def lost(self, cause: Cause, at: Instant) -> None:
        """Nothing is recorded from ``at`` on; an open gap of another cause ends there."""
        if self._open is not None:
            if self._open.cause is cause:
                return
            self.ended(at)
        self._open = Gap(cause, at)
        self._ledger.add(self._open)

    def ended(self, at: Instant) -> None:
        """Recording goes on from ``at``, or is no longer wanted."""
        gap, self._open = self._open, None
        if gap is None:
            return
        gap = Gap(gap.cause, gap.start, at, self._apart_ms(gap.start, at))
        self._ledger.add(gap)
        log.warning(
            "nothing was recorded", action="gap", cause=gap.cause.value, milliseconds=gap.milliseconds
        )

    def note(self, cause: Cause, at: Instant, milliseconds: int, recording_id: str | None) -> None:
        """Write a gap of known length."""
        self._ledger.add(Gap(cause, at, None, milliseconds, recording_id))

    def write(self, gap: Gap) -> None:
        """Write a gap that is known in full."""
        self._ledger.add(gap)
