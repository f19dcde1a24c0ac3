"""Looks why a microphone is of no use: whether its capture control is switched off, or turned down."""

from collections.abc import Callable
from typing import Final

from agent.capture.mixer import CaptureControl
from agent.log import get_logger
from agent.status.board import Board, Quality, Snapshot
from agent.status.words import SOUNDING

log = get_logger(__name__)

AGAIN_SECONDS: Final = 10.0
"""How often it is looked again while something is wrong; while nothing is, amixer is never run."""


class MixerWatch:
    """Reports ``microphone_reason`` on the board; belongs to one thread, which may wait for a mixer that hangs.

    ``read`` returns the capture control of the microphone in use. It is asked for when the microphone is opened, when
    the quality of its sound changes, and again while there is a reason.
    """

    def __init__(
        self, board: Board, read: Callable[[], CaptureControl | None], monotonic: Callable[[], float]
    ) -> None:
        self._board, self._read, self._monotonic = board, read, monotonic
        self._seen: tuple[str | None, Quality | None] | None = None
        self._looked_at = 0.0
        self._said = ""

    def poll(self) -> None:
        """Look at what has changed."""
        now = self._board.snapshot
        if now.microphone_state not in SOUNDING:
            self._seen = None
            if now.microphone_reason is not None:
                self._board.report(microphone_reason=None)
            return
        what = (now.microphone_id, now.microphone_quality)
        is_again = now.microphone_reason is not None and self._monotonic() - self._looked_at >= AGAIN_SECONDS
        if what == self._seen and not is_again:
            return
        self._seen, self._looked_at = what, self._monotonic()
        control = self._read()
        self._board.report(microphone_reason=quality_reason(now.microphone_quality, control))
        self._say(now, control)

    def _say(self, now: Snapshot, control: CaptureControl | None) -> None:
        """Say in the log, once, that the control lets nothing through."""
        words = control.words if control is not None and control.is_closed else ""
        if words and words != self._said:
            log.warning(
                "the capture control of the microphone is switched off, or turned all the way down",
                action="capture_control_closed",
                microphone=now.microphone_name,
                control=words,
            )
        self._said = words


def quality_reason(quality: Quality | None, capture: CaptureControl | None) -> str | None:
    """Return why a microphone is of no use, as far as its capture control tells it; None: nothing is wrong.

    ``capture`` None: it has none, or it cannot be told.
    """
    name = f"its capture control {capture.control}" if capture is not None else ""
    if capture is not None and capture.on is False:
        return f"{name} is switched off"
    if quality in {None, Quality.OK}:
        return None
    if capture is not None and capture.percent == 0 and quality is not Quality.CLIPPING:
        return f"{name} is at 0 %"
    place = (
        f", with {name} at {capture.percent} %" if capture is not None and capture.percent is not None else ""
    )
    return {
        Quality.SILENT: f"digital silence{place}: it is switched off, or its cable is broken",
        Quality.QUIET: f"too quiet{place}",
        Quality.CLIPPING: f"too loud{place}",
    }.get(quality)
