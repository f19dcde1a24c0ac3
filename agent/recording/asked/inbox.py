"""What other threads ask of the recorder: requests in their order, the mute, and a bell that wakes it."""

import queue
import threading

from agent.recording.asked.mute import Mute
from agent.recording.asked.requests import ManualRequest, MarkRequest, Request, StopRequest


class Inbox:
    """The asking side of the recorder; all of it returns at once, but for the mute, which is durable then."""

    def __init__(self, mute: Mute | None) -> None:
        self._mute = mute
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._wake = threading.Event()

    def start(self, request: ManualRequest) -> None:
        """Ask for a manual recording; one that runs is ended first."""
        self._ask(request)

    def stop_manual(self, request: ManualRequest | None = None) -> None:
        """End one manual recording, or the one that runs, if one does."""
        self._ask(StopRequest(request))

    def mark(self, request: MarkRequest) -> None:
        """Ask for a mark in the recording that runs."""
        self._ask(request)

    def _ask(self, request: Request) -> None:
        self._requests.put(request)
        self._wake.set()

    def turn_mute(self, *, on: bool | None) -> bool:
        """Stop capturing until unmuted, or go on with what is wanted (None: the other way); return what holds now."""
        is_muted = self._mute is not None and self._mute.turn(on=on)
        self._wake.set()
        return is_muted

    @property
    def is_muted(self) -> bool:
        """Whether a person has silenced it."""
        return self._mute is not None and self._mute.is_on

    @property
    def mute_is_durable(self) -> bool:
        """Whether a restart would find the mute as it is."""
        return self._mute is None or self._mute.is_durable
