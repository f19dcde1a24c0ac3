"""The metadata of a recording as the API gets it (api.md section 1): the owner's as given, and ours beside it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from agent import __version__
from agent.config.values import METADATA_BYTES, OUR_METADATA_KEY, is_ours
from agent.log import get_logger
from agent.outbox.entry import MARKS, Entry
from agent.small_file import UnusableFile, decode

log = get_logger(__name__)

MARK_LIST = msgspec.json.Decoder(list[dict[str, Any]])


def metadata_of(entry: Entry) -> dict[str, Any]:
    """Return the metadata to send, at most 4096 bytes of JSON.

    What does not fit is left out with a line in the log: the owner's last keys first, then of the marks the texts and
    the last ones.
    """
    ours: dict[str, Any] = {
        OUR_METADATA_KEY: entry.id,
        "recorder_session_id": entry.session_id,
        "recorder_segment": entry.segment,
        "recorder_clock": entry.started.clock,
        "recorder_version": __version__,
    }
    optional = {
        "recorder_recovered": entry.recovered,
        "recorder_gap_ms": entry.gap_ms,
        "recorder_overflows": entry.overflows,
    }
    ours |= {key: value for key, value in optional.items() if value}
    ours |= _loudness(entry)
    marks = _marks_that_fit(entry, METADATA_BYTES - _size(ours))
    ours |= {MARKS: marks} if marks else {}
    owners = dict(entry.metadata)
    for key in [key for key in owners if is_ours(key)]:
        del owners[key]
        if key != MARKS:
            _left_out(entry, key, "the name is the recorder's own")
    while owners and _size(owners | ours) > METADATA_BYTES:
        key, _value = owners.popitem()
        _left_out(entry, key, "too large")
    return owners | ours


def _loudness(entry: Entry) -> dict[str, Any]:
    """Return the level of a recording, where it is known."""
    facts = {
        "recorder_peak_dbfs": entry.peak_dbfs,
        "recorder_rms_dbfs": entry.rms_dbfs,
        "recorder_clipped_seconds": entry.clipped_seconds,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _marks_that_fit(entry: Entry, room: int) -> str:
    """Return the marks as a text: where they take too much, without their words, and then without the last of them."""
    text = entry.metadata.get(MARKS)
    if not isinstance(text, str) or _size({MARKS: text}) < room:
        return text if isinstance(text, str) else ""
    try:
        marks = decode(MARK_LIST, text.encode())
    except UnusableFile:
        _left_out(entry, MARKS, "not what was written")
        return ""
    bare = [{key: mark[key] for key in mark if key != "text"} for mark in marks]
    kept = len(bare)
    while kept and _size({MARKS: _encoded(bare[:kept])}) >= room:
        kept -= 1
    _left_out(entry, MARKS, "too many", number=len(marks) - kept, texts=True)
    return _encoded(bare[:kept]) if kept else ""


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _size(value: Mapping[str, Any]) -> int:
    return len(msgspec.json.encode(value))


def _left_out(entry: Entry, key: str, reason: str, **details: Any) -> None:
    log.warning(
        "left out of the metadata", action="metadata_dropped", id=entry.id, key=key, reason=reason, **details
    )
