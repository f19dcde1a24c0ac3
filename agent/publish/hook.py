"""The owner's own command (``hooks.on_fault``): told when trouble has lasted, and when it is over."""

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from agent.log import get_logger
from agent.status.condition import TABLE, Condition

log = get_logger(__name__)

LASTING_SECONDS = 60.0
COMMAND_SECONDS = 30.0
"""A command that takes longer is ended, with all it has started."""
REAP_SECONDS = 1.0
PASSED_ON = ("HOME", "LANG", "PATH", "TZ")
"""All of the environment that the command gets: nothing that leads to the device token is among it."""

_ORDER = [row.condition for row in TABLE]
TROUBLE = frozenset(_ORDER[: _ORDER.index(Condition.NO_CREDENTIAL)])
"""The conditions above "credential missing or refused": while one holds, nothing is recorded.

Muted is among them. A person wants it so, but a mute that was forgotten loses as much as a broken cable, and a
command that wants to know nothing of it can leave on the word ``muted``; one that is never told cannot ask.
"""


class FaultHook:
    """Tells ``begin`` and ``end``; ``update`` is to be called every few seconds with the present condition.

    ``begin`` is told once of a condition of ``TROUBLE`` that has lasted a minute. Conditions that follow each other
    without a good moment between are one trouble: together they may fill the minute, and one that takes the place
    of another is told by a ``begin`` of its own when it has lasted. ``end`` is told once, of the last one told,
    when none of them holds any more; what was not told has no end. A process that stops tells none, and one that is
    started while it lasts tells a ``begin`` of its own.
    """

    def __init__(self, tell: Callable[[str, Condition, str], None], monotonic: Callable[[], float]) -> None:
        self._tell = tell
        self._monotonic = monotonic
        self._present: Condition | None = None
        self._present_since = self._trouble_since = 0.0
        self._told: Condition | None = None

    def update(self, condition: Condition, sentence: str) -> None:
        """Take note of the present condition, and of the one line that describes it."""
        now = self._monotonic()
        present = condition if condition in TROUBLE else None
        if present is not self._present:
            if self._present is None:
                self._trouble_since = now
            self._present, self._present_since = present, now
        if present is None:
            if self._told is not None:
                self._tell("end", self._told, sentence)
                self._told = None
            return
        since = self._trouble_since if self._told is None else self._present_since
        if present is not self._told and now - since >= LASTING_SECONDS:
            self._told = present
            self._tell("begin", present, sentence)


class HookRunner:
    """Runs an executable, one call after the other, without a shell; nobody ever waits for it.

    Its arguments are ``begin`` or ``end``, the condition and the sentence. What it prints goes where the deliverer's
    own log goes. ``poll`` starts what is next and ends what takes too long; a command that fails is a warning.
    """

    def __init__(self, path: str, monotonic: Callable[[], float]) -> None:
        self._path = path
        self._monotonic = monotonic
        self._waiting: deque[list[str]] = deque()
        self._running: subprocess.Popen[bytes] | None = None
        self._started = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs, and nothing waits for its turn."""
        return self._running is None and not self._waiting

    def tell(self, event: str, condition: Condition, sentence: str) -> None:
        """Run it as soon as its last call has ended."""
        self._waiting.append([event, condition.value, sentence])

    def poll(self) -> None:
        """Start, end or take leave of it, whichever is due; to be called every few seconds."""
        running = self._running
        if running is not None:
            late = self._monotonic() - self._started >= COMMAND_SECONDS
            if running.poll() is None and not late:
                return
            self._leave(running)
        if self._waiting:
            self._start(self._waiting.popleft())

    def close(self) -> None:
        """End it; what waits for its turn is not told any more."""
        self._waiting.clear()
        if self._running is not None:
            self._end(self._running)
            self._running = None

    def _start(self, words: list[str]) -> None:
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        try:
            self._running = subprocess.Popen(
                [self._path, *words],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=2,  # standard output of the deliverer is not read by anybody
                process_group=0,
            )
        except (OSError, ValueError) as error:  # a word with a null byte is a ValueError
            log.warning(
                "the owner's command cannot be run", action="hook_failed", command=self._path, error=error
            )
            return
        self._started = self._monotonic()
        log.info("running the owner's command", action="hook_started", command=self._path, words=words)

    def _leave(self, running: subprocess.Popen[bytes]) -> None:
        """Take note of how it ended, or end it."""
        self._running = None
        if running.poll() is None:
            self._end(running)
            log.warning(
                "the owner's command took too long and was ended",
                action="hook_ended",
                command=self._path,
                seconds=COMMAND_SECONDS,
            )
        elif running.returncode:
            log.warning(
                "the owner's command failed",
                action="hook_failed",
                command=self._path,
                exit_code=running.returncode,
            )

    @staticmethod
    def _end(running: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # one that hangs in the kernel is reaped later
            running.wait(REAP_SECONDS)
