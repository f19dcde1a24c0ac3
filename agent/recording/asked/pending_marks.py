"""Marks on their way into a file: a press is now, and the samples of now may still lie in the pipe."""

import math
from collections.abc import Callable

from agent.clock import Instant
from agent.errors import AgentError
from agent.log import get_logger
from agent.recording.asked.marks import MOST_PER_RECORDING, Mark, Marks
from agent.recording.asked.requests import MarkRequest, nothing_to_mark
from agent.recording.segment import OpenSegment

log = get_logger(__name__)


class PendingMarks:
    """Keeps requests until the stream has reached their moment, so that each goes into the file that holds it."""

    def __init__(self, marks: Marks, instant: Callable[[float], Instant]) -> None:
        self._marks = marks
        self._instant = instant
        self._requests: list[MarkRequest] = []

    def append(self, request: MarkRequest) -> None:
        """Wait for the moment of a request."""
        self._requests.append(request)

    def settle(self, segment: OpenSegment | None, until: float, *, longest_ms: int) -> None:
        """Put the marks of moments up to ``until`` into the open file.

        Those behind its end, which is at ``longest_ms``, stay for the file that begins there.
        """
        if segment is None or not self._requests:
            return
        later = []
        for request in self._requests:
            offset_ms = self._instant(request.at).boot_ms - segment.start.started.boot_ms
            if request.at > until or offset_ms >= longest_ms:
                later.append(request)
            else:
                # What comes next may belong to no recording: a mark lies within its file.
                most = segment.duration_ms if until == math.inf else offset_ms
                self._put(segment, request, max(0, min(offset_ms, most)))
        self._requests = later

    def refuse_all(self) -> None:
        """The session has ended before their moment came."""
        requests, self._requests = self._requests, []
        for request in requests:
            request.refuse(nothing_to_mark())

    def _put(self, segment: OpenSegment, request: MarkRequest, offset_ms: int) -> None:
        request.recording_id, request.offset_ms = segment.start.id, offset_ms
        if self._marks.add(segment.start.id, Mark(offset_ms, request.text)):
            log.info(
                "marked",
                action="recording_marked",
                id=segment.start.id,
                offset_ms=offset_ms,
                text=request.text,
            )
            request.done.set()
        else:
            request.refuse(
                AgentError(
                    f"this recording has {MOST_PER_RECORDING} marks, and no more are kept",
                    "wait for the next one",
                )
            )
