"""Sound that waits: a pipe that is read on into memory while the thread it is for sits in a write to a slow card."""

import contextlib
import fcntl
import os
import select
import threading

PIPE_BYTES = 1 << 20
"""What the kernel keeps by itself: 32 s of 16 kHz mono, 5.5 s of 48 kHz stereo."""
READ_BYTES = 1 << 16


class PipeBuffer:
    """Bytes of a pipe, kept in memory until they are taken; ``size`` limits them.

    When it is full the pipe is not read any more, and whoever writes into it waits: what is lost then is lost, and
    counted, over there. One thread takes, a thread of this object's own reads; the descriptor belongs to it, and is
    closed by ``close``.
    """

    def __init__(self, pipe: int, size: int) -> None:
        self._pipe, self._size = pipe, size
        self._data = bytearray()
        self._ended = self._closed = False
        self._changed = threading.Condition(threading.Lock())
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        os.set_blocking(pipe, False)
        _widen(pipe)
        self._thread = threading.Thread(target=self._read_on, name="capture-pipe", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether the pipe was read to its end; what was read may still lie here."""
        with self._changed:
            return self._ended

    def peek(self, size: int) -> bytes | None:
        """Return the next ``size`` bytes and leave them there; None while there are not so many.

        What lies in the pipe counts as there.
        """
        with self._changed:
            self._fill(size)
            return bytes(self._data[:size]) if len(self._data) >= size else None

    def drop(self, size: int) -> None:
        """Forget the next ``size`` bytes."""
        with self._changed:
            del self._data[:size]
            self._changed.notify_all()

    def wait(self, size: int, seconds: float) -> bool:
        """Wait until ``size`` bytes are there, or the end; return False when neither came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended or len(self._data) >= size, max(0.0, seconds))

    def close(self) -> None:
        """Close the pipe; may be called again."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            os.eventfd_write(self._wake, 1)
            self._changed.notify_all()
        self._thread.join()
        os.close(self._pipe)
        os.close(self._wake)

    def _read_on(self) -> None:
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            poll.poll()
            with self._changed:
                self._changed.wait_for(lambda: self._closed or len(self._data) < self._size)
                if self._closed or self._ended:
                    return
                self._fill(self._size)

    def _fill(self, size: int) -> None:
        """Take over what the pipe has, until ``size`` bytes are there; the lock is held."""
        while len(self._data) < size and not self._ended and not self._closed:
            try:
                data = os.read(self._pipe, READ_BYTES)
            except BlockingIOError:
                return
            self._data += data
            self._ended = not data
            self._changed.notify_all()


def _widen(pipe: int) -> None:
    """Give the pipe its size, or the largest that this user may have."""
    size = PIPE_BYTES
    while size > READ_BYTES:
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)
            return
        size //= 2
