"""What every API call passes before it is made: budget, pacing and pauses stand behind it."""

from typing import Protocol

from agent.api.headers import RateLimit


class Admission(Protocol):
    """What every API call passes (``limits``); PUTs do not, but a 429 of storage is told to it."""

    def admit(self, call: str, *, urgent: bool = False) -> float:
        """Count a call that may be made now and return 0, else the seconds to wait; RateLimited while paused."""

    def answered(self, call: str, status: int, said: RateLimit | None, asked: float | None) -> None:
        """Learn from the answer; ``asked`` is the pause it asks for, in seconds."""

    def wait(self, seconds: float) -> None:
        """Let time pass; Aborted when the agent stops."""

    def stop(self) -> None:
        """End all waits."""


class AdmitAll:
    """Lets every call pass: for one that is made alone, and for tests of the client."""

    def admit(self, _call: str, *, urgent: bool = False) -> float:  # noqa: ARG002 - an Admission
        """Return 0."""
        return 0.0

    def answered(self, _call: str, _status: int, _said: RateLimit | None, _asked: float | None) -> None:
        """Learn nothing."""

    def wait(self, _seconds: float) -> None:
        """Not wait."""

    def stop(self) -> None:
        """Have nothing to end."""
