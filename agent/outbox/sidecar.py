"""The sidecar: everything about a recording that would hurt to lose, as JSON beside its audio."""

from pathlib import Path

import msgspec

from agent.outbox.entry import ENTRY, INDEX_ONLY, Entry, changed

_BLANK = {"ticket": None, "attempts": 0, "last_error": None, "next_attempt_ms": None, "next_attempt": None}
assert set(_BLANK) == set(INDEX_ONLY)  # noqa: S101 - two lists of one thing, checked when imported


def encode(entry: Entry) -> bytes:
    """Return the sidecar's contents, indented for a person."""
    fields = msgspec.to_builtins(changed(entry, **_BLANK))
    for name in INDEX_ONLY:
        del fields[name]
    return msgspec.json.format(msgspec.json.encode(fields), indent=1) + b"\n"


def decode(data: bytes) -> Entry:
    """Read a sidecar back.

    Raises:
        msgspec.DecodeError: it is torn or not a sidecar (``ValidationError`` is one).
    """
    return ENTRY.decode(data)


def read(path: Path) -> Entry | None:
    """Read the sidecar at ``path``; None when it is missing or unusable."""
    try:
        return decode(path.read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return None
