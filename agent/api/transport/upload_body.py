"""The body of an upload: read from disk piece by piece, and watched while it is sent.

What a server takes too slowly would hold back everything behind it for hours: an upload ends below a least rate, and
with the life of its URL. The owner's own limit of the speed is no slowness of the server, and is left out.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from agent.api.errors import ApiFailure, UnreadableFile
from agent.api.transport.alarms import Alarm, Alarms
from agent.errors import AgentError, StillWaiting
from agent.hints import typed

CHUNK = 64 * 1024
PACED_CHUNK = 4 * 1024
"""With a throttle the pieces are small: storage gives up a connection that is silent for about 20 s."""
POLL_SECONDS = 1.0
"""How often it is asked whether it may go on."""
WATCHES = 10
"""How often in a window of the rate it is looked at."""


class TooSlow(ApiFailure, StillWaiting):
    """The body was not taken at the least rate, or not within its time; ``str()`` says which."""


class Slowest(NamedTuple):
    """How slowly a server may take an upload."""

    life: float
    """Seconds that the whole may take."""
    least_rate: float
    """Bytes a second that must be taken, over each ``window`` seconds."""
    window: float


class Sending:
    """An iterable of exactly ``size`` bytes of ``file``; what a server would wait for after a short file is not.

    ``on_progress`` gets the bytes sent so far after each piece. ``pace`` gets the length of each piece before it is
    sent and may wait. ``may_not`` says why it may not go on, when it may not.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        slowest: Slowest,
        *,
        on_progress: Callable[[int], None] | None = None,
        pace: Callable[[int], None] | None = None,
        may_not: Callable[[], AgentError | None] = lambda: None,
    ) -> None:
        self._file = file
        self.size = size
        self.may_not = may_not
        self.forbidden: AgentError | None = None
        """Why the upload was cut although nothing was wrong with it."""
        self._on_progress = on_progress
        self._pace = pace
        self.slowest = slowest
        self._sent = 0
        self._paced = 0.0
        self._pacing_since: float | None = None
        self.raised: Exception | None = None
        """What reading, pacing or telling the progress raised: none of the server's doing."""
        self.too_slow = ""
        """Why the upload was cut, when it was."""

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._pieces()
        except GeneratorExit:
            raise
        except Exception as error:
            self.raised = error
            raise

    @contextlib.contextmanager
    def watched(self, alarms: Alarms, cut: Callable[[], None]) -> Iterator[None]:
        """Call ``cut`` when the upload is too slow, until the block ends."""
        watch = _Watch(self, alarms, cut)
        try:
            yield
        finally:
            watch.end()

    def raise_why_it_was_cut(self, host: str) -> None:
        """Raise the reason for which this side has ended the upload, if it has."""
        if self.forbidden is not None:
            raise self.forbidden
        if self.too_slow:
            raise TooSlow(f"{host} {self.too_slow}", "the file is sent again later.")

    def _pieces(self) -> Iterator[bytes]:
        longest = CHUNK if self._pace is None else PACED_CHUNK
        while self._sent < self.size:
            try:
                piece = self._file.read(min(longest, self.size - self._sent))
            except OSError as error:
                raise UnreadableFile(
                    f"The file cannot be read ({error.strerror})", "check the card."
                ) from error
            if not piece:
                raise UnreadableFile(
                    f"The file ends after {self._sent} of {self.size} bytes", f"{typed('repair')} checks it."
                )
            self._wait_for_pace(len(piece))
            yield piece
            self._sent += len(piece)
            if self._on_progress is not None:
                self._on_progress(self._sent)

    def _wait_for_pace(self, size: int) -> None:
        if self._pace is None:
            return
        self._pacing_since = begun = time.monotonic()
        try:
            self._pace(size)
        finally:
            self._pacing_since = None
            self._paced += time.monotonic() - begun

    @property
    def sent(self) -> int:
        """Bytes that were taken so far."""
        return self._sent

    def paced_until(self, now: float) -> float:
        """Return how many seconds the owner's limit of the speed has been waited for."""
        since = self._pacing_since
        return self._paced + (now - since if since is not None else 0.0)


class _Watch:
    """Judges one upload: its life, and the rate over windows in which the owner's limit was not waited for."""

    def __init__(self, sending: Sending, alarms: Alarms, cut: Callable[[], None]) -> None:
        self._sending = sending
        self._alarms = alarms
        self._cut = cut
        self._lock = threading.Lock()
        """Held while it is judged: an upload that has ended is not cut."""
        self._ended = False
        self._begun = time.monotonic()
        self._window_begins(self._begun)
        self._next = self._check_later()

    def end(self) -> None:
        """The upload has ended."""
        with self._lock:
            self._ended = True
        self._alarms.call_off(self._next)

    def _check_later(self) -> Alarm:
        return self._alarms.after(min(self._sending.slowest.window / WATCHES, POLL_SECONDS), self._look)

    def _look(self) -> None:
        with self._lock:
            if self._ended:
                return
            sending = self._sending
            sending.forbidden, sending.too_slow = sending.may_not(), self._verdict(time.monotonic())
            if sending.forbidden or sending.too_slow:
                self._cut()
            else:
                self._next = self._check_later()

    def _verdict(self, now: float) -> str:
        """Return what is wrong; empty when nothing is."""
        sending = self._sending
        if now - self._begun >= sending.slowest.life:
            return "did not take the upload within the life of its URL"
        paced = sending.paced_until(now) - self._paced
        least_rate, window = sending.slowest.least_rate, sending.slowest.window
        if sending.sent < sending.size and now - self._since - paced >= window:
            if sending.sent - self._sent < least_rate * window:
                return f"takes the upload slower than {least_rate:g} bytes a second"
            self._window_begins(now)
        return ""

    def _window_begins(self, now: float) -> None:
        self._since, self._sent, self._paced = now, self._sending.sent, self._sending.paced_until(now)
