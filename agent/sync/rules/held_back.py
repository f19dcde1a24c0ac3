"""What every rule of the owner raises that lets recordings wait."""

from agent.errors import StillWaiting
from agent.hints import typed
from agent.status.board import Waiting


class HeldBack(StillWaiting):
    """Nothing is sent now because the owner wants it so; ``waiting`` says why, and until when."""

    def __init__(self, waiting: Waiting, message: str = "", hint: str = "") -> None:
        super().__init__(
            message or f"the owner's rules let recordings wait now ({waiting.reason})",
            hint or f"{typed('sync')} sends them all the same",
        )
        self.waiting = waiting
