"""How often the room on the disk is looked at, and when a full or failing one is tried again."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from agent.errors import AgentError
from agent.host.disk_fault import disk_fault
from agent.status.board import State

CHECK_SECONDS = 5.0
"""While recording: so many seconds of time, or of sound from a file."""
RETRY_SECONDS = 10.0
"""While there is no room."""


class StorageFault(NamedTuple):
    """Why nothing can be written."""

    problem: AgentError
    state: State
    """``STORAGE_FULL``, or ``FAULT`` for what room does not help."""
    disk_fails: bool
    """Whether the disk itself fails: what is open on it keeps it from being repaired."""


class StorageWatch:
    """Looks into ``folder``; ``problem`` returns an error when there is no room, and raises what the disk raises.

    It is given whether the disk was full until now. ``tell_full`` is called when a write has met a full disk.
    """

    def __init__(
        self,
        folder: Path,
        monotonic: Callable[[], float],
        problem: Callable[[bool], AgentError | None] = lambda _was_full: None,
        tell_full: Callable[[], object] = lambda: None,
    ) -> None:
        self.tell_full = tell_full
        self._problem = problem
        self._monotonic = monotonic
        self._folder = folder
        self._check_at = self._retry_at = 0.0
        self._check_samples = 0

    def fault_to_begin(self, *, was_full: bool) -> StorageFault | None:
        """Return why nothing can be begun; a disk that was full is asked for a margin."""
        try:
            problem = self._problem(was_full)
        except OSError as error:
            return self.fault_of(error)
        return None if problem is None else StorageFault(problem, State.STORAGE_FULL, disk_fails=False)

    def fault_of(self, error: OSError) -> StorageFault:
        """Return what a disk means that refused something."""
        fault = disk_fault(error, self._folder)
        state = State.STORAGE_FULL if fault.is_full else State.FAULT
        return StorageFault(fault.problem, state, fault.disk_fails)

    def fault_while_recording(self, samples: int, sample_rate: int) -> StorageFault | None:
        """Return why the session, of so many samples, cannot go on; None also when it is too early to look again."""
        now = self._monotonic()
        if now < self._check_at and samples < self._check_samples:
            return None
        self._check_at = now + CHECK_SECONDS
        self._check_samples = samples + round(CHECK_SECONDS * sample_rate)
        return self.fault_to_begin(was_full=False)

    def failed(self) -> None:
        """The disk is full or refuses: leave it alone for a while."""
        self._retry_at = self._monotonic() + RETRY_SECONDS

    @property
    def waits(self) -> bool:
        """Whether it is too early to try the disk again."""
        return self._monotonic() < self._retry_at
