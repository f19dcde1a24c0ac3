"""What every rule of the owner raises that lets recordings wait."""

from agent.errors import StillWaiting
from agent.status.board import Waiting


class WaitsByRule(StillWaiting):
    """Nothing is sent now because the owner wants it so.

    ``reason`` is what ``status`` shows, ``hint`` what the owner can do about it; ``until_ms`` is unix time.
    """

    def __init__(self, reason: str, hint: str, until_ms: int | None = None, message: str = "") -> None:
        super().__init__(message or f"the owner's rules let recordings wait now ({reason})", hint)
        self.waiting = Waiting(reason, until_ms, hint)
