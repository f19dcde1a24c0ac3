"""Whose audio is it: tokens, the bindings they belong to, and the end users each has shown (api.md section 7).

A binding is one binding of the device to a person. A refresh keeps it, a token set by a person begins a new one
unless that person says otherwise, an earlier token set again returns to its own. Its id is the fingerprint of its
first token, so that even a file that could not be written yet names it right. ``lineages.json`` holds fingerprints
only. Unknown means held: a file that is lost or torn lets nothing go to a stranger.
"""

import fcntl
import os
import threading
from pathlib import Path
from types import TracebackType

import msgspec

from agent.disk import Disk, set_aside
from agent.errors import AgentError
from agent.log import get_logger
from agent.small_file import UnusableFile, decode, is_regular, read_bytes

log = get_logger(__name__)

BINDINGS_NAME = "lineages.json"
LOCK_NAME = "device-token.lock"

_UNKNOWN = "unknown"


class OtherOwner(AgentError):  # noqa: N818 - the way things are, no malfunction
    """The recording was captured under another binding of the device than the present token's."""


class BindingChanged(AgentError):  # noqa: N818 - the way things are, no malfunction
    """The token in force is of another binding than the one a request was made for."""


class TokenLock:
    """One writer of the token's files at a time, over threads and processes; may be taken again by its holder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.RLock()
        self._depth = 0
        self._descriptor = -1

    def __enter__(self) -> None:
        """Wait for the lock; OSError when its file cannot be opened."""
        self._threads.acquire()
        try:
            if self._depth == 0:
                self._descriptor = self._opened()
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except BaseException:
            self._threads.release()
            raise
        self._depth += 1

    def _opened(self) -> int:
        """Return a descriptor of the lock's file; what is no file is set aside."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        if os.path.lexists(self._path) and not is_regular(self._path):
            set_aside(self._path)
        return os.open(self._path, flags, 0o600)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the next one in."""
        self._depth -= 1
        if self._depth == 0:
            os.close(self._descriptor)
        self._threads.release()


class _Known(msgspec.Struct):
    """A token that was seen."""

    binding: str = msgspec.field(name="lineage")
    device_id: str | None = None
    """What the API called the device under this token."""


class _Binding(msgspec.Struct, omit_defaults=True):
    end_users: list[str] = []
    """All that creates under its tokens have shown."""
    same_as: str | None = None
    """An earlier binding that a person said it continues."""


class _Book(msgspec.Struct):
    """What ``lineages.json`` holds."""

    tokens: dict[str, _Known] = {}
    """By fingerprint."""
    bindings: dict[str, _Binding] = {}
    first: str | None = None
    """Whose is what was captured before any token was known."""
    current: str | None = None
    previous: str | None = None

    def root(self, binding: str) -> str:
        """Return the binding that stands for all which a person said are one."""
        seen = {binding}
        while (entry := self.bindings.get(binding)) and entry.same_as and entry.same_as not in seen:
            binding = entry.same_as
            seen.add(binding)
        return binding

    def end_users(self, root: str) -> set[str]:
        """Return the end users that a binding and all that are one with it have shown."""
        return {
            user
            for name, entry in self.bindings.items()
            if self.root(name) == root
            for user in entry.end_users
        }

    def enter(self, binding: str) -> None:
        """Put a binding in force."""
        self.bindings.setdefault(binding, _Binding())
        self.first = self.first or binding
        if self.current is None or self.root(self.current) != self.root(binding):
            self.previous = self.current
        self.current = binding


_BOOK = msgspec.json.Decoder(_Book)


class Bindings:
    """The bindings of one state directory; thread-safe, and safe beside other processes.

    What writes raises OSError; the file is durable when it returns.
    """

    def __init__(self, folder: Path, disk: Disk, lock: TokenLock) -> None:
        self._path = folder / BINDINGS_NAME
        self._disk = disk
        self._lock = lock
        self._seen: tuple[object, bytes] = (None, b"")

    @property
    def current(self) -> str | None:
        """The binding of the token that was in use last."""
        return self._read().current

    def of(self, fingerprint: str) -> str:
        """Return a token's binding; its own for one that was never seen."""
        known = self._read().tokens.get(fingerprint)
        return known.binding if known is not None else fingerprint

    def knows(self, fingerprint: str) -> bool:
        """Whether a token was seen before."""
        return fingerprint in self._read().tokens

    def device_of(self, fingerprint: str) -> str | None:
        """Return the device id that the API has shown to a token."""
        known = self._read().tokens.get(fingerprint)
        return known.device_id if known is not None else None

    def allows(self, binding: str | None, released_to: str | None, current: str | None) -> bool:
        """Whether audio of a binding may be sent under the current one.

        It may under its own, under the one a person released it to, and where both have shown one and the same
        end user. None, captured before any token, belongs to the first.
        """
        book = self._read()
        origin = binding if binding is not None else book.first
        if current is None or origin is None:
            return True
        here, origin = book.root(current), book.root(origin)
        if here == origin or (released_to is not None and book.root(released_to) == here):
            return True
        users = book.end_users(here)
        return len(users) == 1 and users == book.end_users(origin)

    def rules(self) -> object:
        """Return something that is another when ``allows`` may answer otherwise than before."""
        book = self._read()
        return msgspec.json.encode((book.first, book.bindings))

    def note(self, fingerprint: str) -> str:
        """Put the binding of a token in force that counts now, however it came there; return it."""
        binding = self.of(fingerprint)
        book = self._read()
        if book.current != binding or fingerprint not in book.tokens:
            with self._lock:
                book = self._read()
                known = book.tokens.setdefault(fingerprint, _Known(fingerprint))
                binding = known.binding
                book.enter(binding)
                self._write(book)
        return binding

    def begin(self, fingerprint: str, *, same_owner: bool) -> None:
        """Give a token that a person is about to set its binding.

        With ``same_owner`` it continues the present one (the one before, for a token that is in force already).
        """
        with self._lock:
            book = self._read()
            known = book.tokens.get(fingerprint)
            if known is None:
                known = _Known(book.current if same_owner and book.current else fingerprint)
                book.tokens[fingerprint] = known
            elif same_owner:
                _continue(book, known.binding)
            book.bindings.setdefault(known.binding, _Binding())
            self._write(book)

    def succeed(self, fingerprint: str, successor: str) -> None:
        """Give the token that a refresh has brought the binding and the device id of the one before."""
        with self._lock:
            book = self._read()
            known = book.tokens.get(fingerprint, _Known(fingerprint))
            book.tokens[successor] = _Known(known.binding, known.device_id)
            book.bindings.setdefault(known.binding, _Binding())
            self._write(book)

    def learn(self, fingerprint: str, end_user_id: str | None, device_id: str | None) -> None:
        """Note what a create under a token has shown; no end user tells nothing."""
        if self._has_learnt(self._read(), fingerprint, end_user_id, device_id):
            return
        with self._lock:
            book = self._read()
            known = book.tokens.setdefault(fingerprint, _Known(fingerprint))
            known.device_id = device_id or known.device_id
            entry = book.bindings.setdefault(known.binding, _Binding())
            if end_user_id and end_user_id not in entry.end_users:
                entry.end_users = [*entry.end_users, end_user_id]
            self._write(book)

    @staticmethod
    def _has_learnt(book: _Book, fingerprint: str, end_user_id: str | None, device_id: str | None) -> bool:
        known = book.tokens.get(fingerprint)
        if known is None:
            return False
        entry = book.bindings.get(known.binding, _Binding())
        return (not end_user_id or end_user_id in entry.end_users) and (
            not device_id or device_id == known.device_id
        )

    def _read(self) -> _Book:
        """Return a book of one's own to change."""
        try:
            status = self._path.stat()
            signature = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if signature != self._seen[0]:
                self._seen = (signature, read_bytes(Path(os.path.realpath(self._path))))
            return decode(_BOOK, self._seen[1])
        except FileNotFoundError:
            return _Book()
        except (OSError, UnusableFile) as error:
            log.error("whose audio is whose is not known any more", action="lineages_unreadable", error=error)
            return _Book(first=_UNKNOWN)

    def _write(self, book: _Book) -> None:
        data = msgspec.json.format(msgspec.json.encode(book), indent=1) + b"\n"
        self._disk.replace(self._path, data, "lineage")


def _continue(book: _Book, binding: str) -> None:
    """Note that a known binding and the present one (or the one before, when that is it) are of one owner."""
    other = book.current
    if other is None or book.root(other) == book.root(binding):
        other = book.previous
    if other is not None and book.root(other) != book.root(binding):
        book.bindings.setdefault(book.root(binding), _Binding()).same_as = book.root(other)
