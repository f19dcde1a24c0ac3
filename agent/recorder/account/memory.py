"""``recorder.json``: the next sequence number, and the instant up to which is known what was recorded."""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from agent.bounds import NextSequence, Sequence
from agent.clock import Instant
from agent.disk import Disk
from agent.errors import AgentError
from agent.hints import restart
from agent.log import get_logger
from agent.outbox.files import Files
from agent.recorder.binding import Binding
from agent.recording.asked.requests import Asked
from agent.recording.days.days import Account
from agent.small_file import load_or_none

log = get_logger(__name__)

FILE = "recorder.json"


MOST_ABSENCES = 50

Mode = Annotated[str, Meta(max_length=16)]


class Absence(msgspec.Struct, frozen=True):
    """A time in which this recorder recorded nothing."""

    since: Instant
    until: Instant


class RecorderJson(msgspec.Struct, omit_defaults=True):
    """What ``recorder.json`` holds."""

    next_seq: NextSequence
    until: Instant | None = None
    """The end of the newest sample, or of what was accounted for at an orderly end."""
    binding: Binding | None = None
    """The binding that was in force last."""
    recording: Sequence | None = None
    """The number of the newest file that the recorder itself recorded into."""
    mode: Mode | None = None
    """``recording.mode`` of the run that wrote this."""
    asked: Asked | None = None
    """The manual recording that runs."""
    absences: Annotated[list[Absence], Meta(max_length=MOST_ABSENCES)] = []
    """Times of which the calendar cannot tell yet what is missing: the clock was wrong at one of their ends."""
    account: Account = msgspec.field(default_factory=Account)
    """What was recorded on days that are not over yet."""


RECORDER_JSON = msgspec.json.Decoder(RecorderJson)


def absences_of(folder: Path) -> list[Absence]:
    """Return the times of which the calendar could not tell yet what is missing, as ``recorder.json`` has them."""
    found = load_or_none(folder / FILE, RECORDER_JSON)
    return [] if found is None else found.absences


class Numbers(Protocol):
    """Gives sequence numbers and knows the binding: the recorder itself, or a command that asks it."""

    @property
    def last_number(self) -> int:
        """The number given last; 0 before the first."""

    @property
    def binding(self) -> str | None:
        """The binding that was in force last."""

    def next_number(self, *, at: Instant | None = None, binding: str | None = None) -> int:
        """Return a number larger than any given before; durable."""

    def note(self, until: Instant) -> None:
        """Remember up to when it was recorded."""

    def ask(self, asked: Asked | None) -> None:
        """Remember which manual recording runs."""


class _Answer(msgspec.Struct):
    """What the recorder answers to ``number``."""

    number: Sequence
    binding: Binding | None = None


class AskedNumbers:
    """Numbers for a command that writes a file of its own beside the recorder; ``ask`` gives the recorder's answer."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask = ask
        self._answer: _Answer | None = None

    @property
    def last_number(self) -> int:
        """The number given last."""
        return self._answer.number if self._answer is not None else 0

    @property
    def binding(self) -> str | None:
        """The binding is read from its file; before, none is known."""
        return None

    def next_number(self, *, at: Instant | None = None, binding: str | None = None) -> int:  # noqa: ARG002 - the recorder's to remember
        """Ask for one; AgentError when the recorder cannot be asked."""
        try:
            self._answer = msgspec.convert(self._ask(), _Answer)
        except msgspec.ValidationError as error:
            raise AgentError(f"the recorder gave no number ({error})", restart()) from error
        return self._answer.number

    def note(self, until: Instant) -> None:
        """What a file holds was not recorded now."""

    def ask(self, asked: Asked | None) -> None:
        """Nor was it asked of the recorder."""


class Memory:
    """One writer at a time: the recorder, or the command in its place, under the recorder's lock.

    A disk that refuses costs only what is remembered, and is said: files bear their numbers too.
    """

    def __init__(self, folder: Path, disk: Disk, files: Files) -> None:
        self._path = folder / FILE
        self._disk = disk
        self._lock = threading.Lock()
        found = load_or_none(self._path, RECORDER_JSON)
        self._now = found or RecorderJson(1)
        self.asked_before = self._now.asked
        """The manual recording in which an earlier run ended."""
        self._written = msgspec.json.encode(found) if found is not None else b""
        self._is_account_kept = self._now.account.since is not None
        self._now.next_seq = max(self._now.next_seq, files.last_sequence() + 1)

    @property
    def last_number(self) -> int:
        """The number given last; 0 before the first."""
        return self._now.next_seq - 1

    @property
    def until(self) -> Instant | None:
        """Up to when is known what was recorded."""
        return self._now.until

    @property
    def recording(self) -> int | None:
        """The number of the newest file that the recorder itself recorded into."""
        return self._now.recording

    @property
    def mode(self) -> str | None:
        """``recording.mode`` of the run that wrote this."""
        return self._now.mode

    @property
    def account(self) -> Account:
        """What was recorded on days that are not over yet; whoever changes it holds ``changing``."""
        return self._now.account

    @property
    def changing(self) -> threading.Lock:
        """Held while what is remembered changes; the disk is waited for under it."""
        return self._lock

    @property
    def absences(self) -> list[Absence]:
        """Times of which the calendar cannot tell yet what is missing."""
        return list(self._now.absences)

    @property
    def binding(self) -> str | None:
        """The binding that was in force last."""
        return self._now.binding

    def next_number(self, *, at: Instant | None = None, binding: str | None = None) -> int:
        """Return a number larger than any given before; durable. ``at``: the instant of the newest sample."""
        with self._lock:
            number = self._now.next_seq
            self._now.next_seq += 1
            if at is not None:
                self._now.until, self._now.recording = at, number
            self._now.binding = binding or self._now.binding
            self._write("open.number")
            return number

    def note(self, until: Instant) -> None:
        """Remember up to when it was recorded."""
        with self._lock:
            self._now.until = until
            self._write("finish.until")

    def ask(self, asked: Asked | None) -> None:
        """Remember which manual recording runs."""
        with self._lock:
            self._now.asked = asked
            self._write("asked")

    def begin(self, mode: str, absences: Iterable[Absence], began: Instant | None = None) -> None:
        """Remember the mode of this run, and what the calendar cannot tell yet; nothing is written for no change.

        ``began`` is where a run begins: a manual recording of the run before has ended, and the account begins there
        when there was nothing before.
        """
        with self._lock:
            kept, until = list(absences)[-MOST_ABSENCES:], self._now.until or began
            is_left = (
                began is not None and self._now.asked is not None and self._now.asked is self.asked_before
            )
            is_same = (mode, kept, until) == (self._now.mode, self._now.absences, self._now.until)
            if is_left or not is_same or not self._is_account_kept:
                self._now.mode, self._now.absences, self._now.until = mode, kept, until
                self._now.asked = None if is_left else self._now.asked
                self._write("begin")

    def keep_account(self) -> dict[str, int] | None:
        """Make the account durable; return what was recorded on each open day by then, None where the disk refuses."""
        with self._lock:
            return self._now.account.recorded.copy() if self._write("days.account") else None

    def _write(self, step: str) -> bool:
        """Write what is new, and once more where the disk refuses: what is not remembered can cost a gap its place."""
        data = msgspec.json.encode(self._now)
        if data == self._written:
            return True
        for is_last in (False, True):
            try:
                self._disk.replace(self._path, data, step)
            except OSError as error:
                if is_last:
                    log.error("the recorder's memory cannot be written", action="memory_failed", error=error)
            else:
                self._written = data
                self._is_account_kept = self._now.account.since is not None
                return True
        return False
