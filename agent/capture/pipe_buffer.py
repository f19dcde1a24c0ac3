"""Sound that waits: a pipe that is read on into memory while the thread it is for sits in a write to a slow card."""

import contextlib
import fcntl
import math
import os
import select
import threading
import time

PIPE_BYTES = 1 << 20
"""What the kernel keeps by itself: 32 s of 16 kHz mono, 5.5 s of 48 kHz stereo."""
READ_BYTES = 1 << 16
POLL_SECONDS = 1.0
"""How often it is looked whether somebody takes what comes; much less than the pipe alone can hold."""


class PipeBuffer:
    """Bytes of a pipe, kept in memory until they are taken; ``size`` limits them.

    One thread takes, straight out of the pipe; a thread of this object's own reads on while that one is elsewhere.
    When the memory is full the pipe is not read any more, and whoever writes into it waits: what is lost then is lost,
    and counted, over there. The descriptor belongs to this object, and is closed by ``close``.
    """

    def __init__(self, pipe: int, size: int) -> None:
        self._pipe, self._size = pipe, size
        self._data = bytearray()
        self._ended = False
        self._lock = threading.Lock()
        self._calls = 0
        self._is_waiting = False
        self._closing = threading.Event()
        os.set_blocking(pipe, False)
        _widen(pipe)
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)
        self._thread = threading.Thread(target=self._read_on, name="capture-pipe", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether the pipe was read to its end; what was read may still lie here."""
        with self._lock:
            return self._ended

    def peek(self, size: int) -> bytes | None:
        """Return the next ``size`` bytes and leave them there; None while there are not so many.

        What lies in the pipe counts as there.
        """
        with self._lock:
            self._calls += 1
            self._fill(size)
            return bytes(self._data[:size]) if len(self._data) >= size else None

    def drop(self, size: int) -> None:
        """Forget the next ``size`` bytes."""
        with self._lock:
            del self._data[:size]

    def wait(self, size: int, seconds: float) -> bool:
        """Wait until ``size`` bytes are there, or the end; return False when neither came in time."""
        deadline = time.monotonic() + seconds
        while True:
            with self._lock:
                self._calls += 1
                self._fill(size)
                if self._ended or len(self._data) >= size:
                    return True
                self._is_waiting = True
            left = deadline - time.monotonic()
            came = left > 0 and self._poll.poll(math.ceil(left * 1000))
            with self._lock:
                self._is_waiting = False
            if not came:
                return False

    def close(self) -> None:
        """Close the pipe; may be called again."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join()
        os.close(self._pipe)

    def _read_on(self) -> None:
        seen = 0
        while not self._closing.wait(POLL_SECONDS):
            with self._lock:
                if self._calls == seen and not self._is_waiting:
                    self._fill(self._size)
                seen = self._calls

    def _fill(self, size: int) -> None:
        """Take over what the pipe has, until ``size`` bytes are there; the lock is held."""
        while len(self._data) < size and not self._ended:
            try:
                data = os.read(self._pipe, READ_BYTES)
            except BlockingIOError:
                return
            self._data += data
            self._ended = not data


def _widen(pipe: int) -> None:
    """Give the pipe its size, or the largest that this user may have."""
    size = PIPE_BYTES
    while size > READ_BYTES:
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)
            return
        size //= 2
