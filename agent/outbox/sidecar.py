"""The sidecar: everything about a recording that would hurt to lose, as JSON beside its audio."""

from pathlib import Path

import msgspec

from agent import small_file
from agent.outbox.entry import ENTRY, INDEX_ONLY, STORED_NAMES, Entry, sane
from agent.small_file import UnusableFile


def encode(entry: Entry) -> bytes:
    """Return the sidecar's contents, indented for a person."""
    fields = msgspec.to_builtins(entry)
    for name in INDEX_ONLY:
        del fields[STORED_NAMES[name]]
    return msgspec.json.format(msgspec.json.encode(fields), indent=1) + b"\n"


def decode(data: bytes) -> Entry:
    """Read a sidecar back.

    Raises:
        UnusableFile: it is torn or not a sidecar.
    """
    return sane(small_file.decode(ENTRY, data))


def read(path: Path) -> Entry | None:
    """Read the sidecar at ``path``; None when it is missing or unusable, or another recording's."""
    try:
        entry = sane(small_file.load(path, ENTRY))
    except (FileNotFoundError, UnusableFile):
        return None
    return entry if entry.sidecar_name == path.name.removesuffix(".tmp") else None
