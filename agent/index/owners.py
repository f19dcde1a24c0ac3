"""Whose audio may be sent now (api.md section 7), as the outbox asks it."""

from typing import Protocol

from agent.outbox.entry import Entry


class Owners(Protocol):
    """Knows under which binding of the device a recording was captured, and which one is in force."""

    def current(self) -> str | None:
        """Return the binding in force, the last known one without a token; None before there was any."""

    def may_send(self, entry: Entry) -> bool:
        """Whether the present token belongs to the owner of this recording."""


class OneOwner:
    """No binding was ever changed."""

    def current(self) -> str | None:
        """None: not known."""
        return None

    def may_send(self, _entry: Entry) -> bool:
        """Everything may be sent."""
        return True
