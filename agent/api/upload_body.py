"""The body of an upload: read from disk piece by piece, and watched while it is sent.

What a server takes too slowly would hold back everything behind it for hours: an upload ends below a least rate, and
with the life of its URL. The owner's own limit of the speed is no slowness of the server, and is left out.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

from agent.api.errors import ApiFailure, UnreadableFile
from agent.errors import StillWaiting
from agent.hints import typed

CHUNK = 64 * 1024
PACED_CHUNK = 4 * 1024
"""With a throttle the pieces are small: storage gives up a connection that is silent for about 20 s."""
WATCHES = 10
"""How often in a window of the rate it is looked at."""


class TooSlow(ApiFailure, StillWaiting):
    """The body was not taken at the least rate, or not within its time; ``str()`` says which."""


class Sending:
    """An iterable of exactly ``size`` bytes of ``file``; what a server would wait for after a short file is not.

    ``on_progress`` gets the bytes sent so far after each piece. ``pace`` gets the length of each piece before it is
    sent and may wait. ``life`` is how many seconds it may take; ``least_rate`` bytes a second must be taken over each
    ``window`` seconds.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        on_progress: Callable[[int], None] | None,
        pace: Callable[[int], None] | None,
        *,
        life: float,
        least_rate: float,
        window: float,
    ) -> None:
        self._file = file
        self._size = size
        self._on_progress = on_progress
        self._pace = pace
        self._life = life
        self._least_rate = least_rate
        self._window = window
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
    def watched(self, cut: Callable[[], None]) -> Iterator[None]:
        """Call ``cut`` when the upload is too slow, until the block ends."""
        done = threading.Event()
        watch = threading.Thread(target=self._watch, args=(cut, done), name="upload watch", daemon=True)
        watch.start()
        try:
            yield
        finally:
            done.set()
            watch.join()

    def _pieces(self) -> Iterator[bytes]:
        longest = CHUNK if self._pace is None else PACED_CHUNK
        while self._sent < self._size:
            try:
                piece = self._file.read(min(longest, self._size - self._sent))
            except OSError as error:
                raise UnreadableFile(
                    f"The file cannot be read ({error.strerror}); check the card."
                ) from error
            if not piece:
                raise UnreadableFile(
                    f"The file ends after {self._sent} of {self._size} bytes; {typed('repair')} checks it."
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

    def _watch(self, cut: Callable[[], None], done: threading.Event) -> None:
        """Judge the life, and the rate over windows in which the owner's limit was not waited for."""
        begun = since = time.monotonic()
        sent = paced = 0.0
        while not done.wait(self._window / WATCHES):
            now = time.monotonic()
            if now - begun >= self._life:
                self.too_slow = "did not take the upload within the life of its URL"
            elif self._sent < self._size and now - since - (self._paced_until(now) - paced) >= self._window:
                if self._sent - sent < self._least_rate * self._window:
                    self.too_slow = f"takes the upload slower than {self._least_rate:g} bytes a second"
                since, sent, paced = now, self._sent, self._paced_until(now)
            if self.too_slow:
                cut()
                return

    def _paced_until(self, now: float) -> float:
        since = self._pacing_since
        return self._paced + (now - since if since is not None else 0.0)
