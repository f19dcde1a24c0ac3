"""The metadata of a recording as the API gets it: ours, the owner's, and the moments a person marked."""

from typing import Any

import msgspec

from agent import __version__
from agent.log import get_logger
from agent.outbox.entry import MARKS, Entry

log = get_logger(__name__)

METADATA_BYTES = 4096
"""What the metadata of a recording may take, encoded."""


def metadata_of(entry: Entry) -> dict[str, Any]:
    """Return the metadata to send: ours, and as much of the owner's as 4096 encoded bytes hold."""
    ours: dict[str, Any] = {
        "client_recording_id": entry.id,
        "session_id": entry.session_id,
        "segment": entry.segment,
        "clock": entry.started.clock,
        "recorded_by": f"recorder-agent/{__version__}",
    }
    optional = {"recovered": entry.recovered, "gap_ms": entry.gap_ms, "overflows": entry.overflows}
    ours |= {key: value for key, value in optional.items() if value}
    marks = entry.metadata.get(MARKS)
    are_marks = isinstance(marks, list) and all(isinstance(mark, dict) for mark in marks)
    kept_apart = {*ours, MARKS} if are_marks else set(ours)
    metadata = {key: value for key, value in entry.metadata.items() if key not in kept_apart} | ours
    for key in reversed(list(entry.metadata)):
        if len(msgspec.json.encode(metadata)) <= METADATA_BYTES:
            break
        if key not in kept_apart:
            del metadata[key]
            log.warning(
                "left out of the metadata: too large", action="metadata_dropped", id=entry.id, key=key
            )
    if isinstance(marks, list) and are_marks:
        metadata |= _marks_that_fit(marks, METADATA_BYTES - len(msgspec.json.encode(metadata)), entry.id)
    return metadata


def _marks_that_fit(marks: list[dict[str, Any]], room: int, recording_id: str) -> dict[str, Any]:
    """Return the marks: without their texts where those take too much, and without the last where there are many."""
    bare = [{key: mark[key] for key in mark if key != "text"} for mark in marks]
    shown = next((each for each in (marks, bare) if _fits(each, room)), bare)
    while shown and not _fits(shown, room):
        shown = shown[:-1]
    if len(shown) < len(marks):
        log.warning(
            "marks left out of the metadata: too many",
            action="metadata_dropped",
            id=recording_id,
            key=MARKS,
            number=len(marks) - len(shown),
        )
    return {MARKS: shown} if shown else {}


def _fits(marks: list[dict[str, Any]], room: int) -> bool:
    return len(msgspec.json.encode({MARKS: marks})) < room
