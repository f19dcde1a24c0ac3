"""Holding back what was recorded under an older binding of the device, until its owner is known (api.md section 7)."""

import contextlib
from collections.abc import Callable, Iterable

from agent.errors import CredentialError
from agent.index.outbox import Outbox
from agent.log import get_logger
from agent.outbox.entry import WAITING, Entry, Status
from agent.status.board import CredentialState
from agent.token.bindings import OtherOwner
from agent.token.store import Credentials

log = get_logger(__name__)


class Holds:
    """Keeps the held recordings of the index in step with the bindings; for the thread that drains.

    What is held is for people and for speed: whatever the index says, ``deliver`` lets no call be made for a recording
    that the present token's owner may not have.
    """

    def __init__(self, outbox: Outbox, credentials: Credentials, try_token: Callable[[], object]) -> None:
        """``try_token`` makes a call that concerns no recording; it raises what that meets."""
        self.try_token = try_token
        self.token_changed = credentials.watch()
        """Tells whether another token counts than it told last."""
        self._outbox = outbox
        self._credentials = credentials
        self._settled: object = None

    def deliver(self, entry: Entry, deliver: Callable[[Entry], Entry]) -> Entry | None:
        """Return what ``deliver`` returns, its file in hand to the end.

        None when somebody else has the file, when it has vanished, or when the recording is held before its next call.
        """
        try:
            with self._outbox.at_work(entry) as may, self._credentials.only_for(entry):
                return deliver(entry) if may else None
        except OtherOwner as error:
            log.warning("held", action="recording_held", id=entry.id, reason=str(error))
            self._hold(entry)
            return None

    def known_of_token(self) -> CredentialState:
        """Return what is known of a token that has just come into use: accepted when it was set, or nothing."""
        with contextlib.suppress(CredentialError):
            choice, accepted = self._credentials.find(), self._credentials.accepted
            if choice is not None and choice.token.fingerprint == accepted:
                return CredentialState.ACCEPTED
        return CredentialState.UNKNOWN

    def any(self) -> bool:
        """Whether anything is held."""
        return next(iter(self._outbox.store.held()), None) is not None

    def settle(self, stopped: Callable[[], bool]) -> bool:
        """Hold and release what a change of the bindings asks for; return whether anything was released.

        Costs a look at a small file while nothing has changed. ``stopped`` ends it early; the next call goes on.
        """
        rules = (self._credentials.current(), self._credentials.bindings.rules())
        if rules == self._settled:
            return False
        released = self._each(self._outbox.store.held(), Status.HELD, self._release, stopped)
        held = self._each(self._outbox.store.waiting(), None, self._hold, stopped)
        if released:
            log.info("the owner is the same, held recordings go on", action="holds_released", count=released)
        if held:
            log.warning(
                "held: recorded under another device token; they wait until their owner is known, or they are released",
                action="holds_begun",
                count=held,
            )
        if not stopped():
            self._settled = rules
        return bool(released)

    def _each(
        self,
        entries: Iterable[Entry],
        status: Status | None,
        change: Callable[[Entry], None],
        stopped: Callable[[], bool],
    ) -> int:
        """Change those whose hold is not what it should be; return how many."""
        count = 0
        for entry in entries:
            if stopped():
                break
            if self._credentials.may_send(entry) is (status is Status.HELD):
                change(entry)
                count += 1
        return count

    def _hold(self, entry: Entry) -> None:
        fresh = self._outbox.store.get(entry.id)
        if fresh is not None and fresh.status in WAITING:
            self._outbox.hold(fresh)

    def _release(self, entry: Entry) -> None:
        fresh = self._outbox.store.get(entry.id)
        if fresh is not None and fresh.status is Status.HELD:
            self._outbox.release(fresh)
