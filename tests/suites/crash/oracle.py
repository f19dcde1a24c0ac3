"""The judge: reads files, index, sidecars and the server's objects by its own code; it does not know the outbox."""

import hashlib
import json
import sqlite3
import struct
from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDERS = ("recording", "outbox", "sent", "damaged")
_PAGE = struct.Struct("<4sBBqIIIB")


@dataclass
class Verdict:
    """What is wrong, one sentence each; and the figures that were counted."""

    complaints: list[str] = field(default_factory=list)
    samples: int = 0
    """Samples, at 48 kHz, in all audio that the server holds, each recording counted once."""
    per_run: Counter[str] = field(default_factory=Counter)
    """The same by the ``run`` in the recordings' metadata."""
    objects: list[Path] = field(default_factory=list)
    superseded: int = 0
    """Uploads that a later one to the same recording has taken the place of."""
    empty: int = 0
    """Recordings on the server that never got audio: creates whose answer was lost."""


class Oracle:
    """Looks at one state directory and the directory of one sandbox."""

    def __init__(self, state: Path, server: Path) -> None:
        self._state = state
        self._server = server
        self._verdict = Verdict()

    def judge(self, finished: dict[str, tuple[str, int]], kept: AbstractSet[str] = frozenset()) -> Verdict:
        """Return the verdict.

        ``finished``: hash and samples by local id of what was whole when it happened; ``kept``: the ids of what had
        been delivered and must still be in its folder.
        """
        rows = self._rows()
        for local_id in kept - {row["id"] for row in rows.values()}:
            self._complain(f"{local_id} was delivered and is not kept")
        self._compare_rows_and_files(rows)
        held = self._server_holdings()
        for local_id, (sha256, _samples) in finished.items():
            if local_id not in held:
                self._complain(f"finished {local_id} is not on the server")
            elif held[local_id] != sha256:
                self._complain(f"finished {local_id} is on the server with other bytes")
        for row in rows.values():
            if row["completed_ms"] is not None and held.get(row["id"]) != row["sha256"]:
                self._complain(f"{row['id']} is said to be delivered and the server does not hold it")
        return self._verdict

    def _complain(self, sentence: str) -> None:
        self._verdict.complaints.append(sentence)

    def _rows(self) -> dict[str, dict[str, Any]]:
        connection = sqlite3.connect(f"file:{self._state / 'outbox.db'}?mode=ro", uri=True)
        try:
            connection.row_factory = sqlite3.Row
            connection.text_factory = lambda text: text.decode(errors="replace")
            if connection.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                self._complain("the index is corrupt")
            return {row["stem"]: dict(row) for row in connection.execute("SELECT * FROM recordings")}
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            self._complain(f"the index cannot be read: {error}")
            return {}
        finally:
            connection.close()

    def _compare_rows_and_files(self, rows: dict[str, dict[str, Any]]) -> None:
        present = {folder: {path.name for path in (self._state / folder).iterdir()} for folder in FOLDERS}
        for name in present["recording"]:
            self._complain(f"recording/{name} was left")
        for row in rows.values():
            folder = _home(row)
            stem = row["stem"]
            damaged = folder == "damaged"
            if row["completed_ms"] is None and not (damaged and row["samples"] == 0):
                self._complain(f"{row['id']} is not delivered: {row['parked_reason'] or row['last_error']}")
            if f"{stem}.opus" not in present[folder]:
                self._complain(f"{row['id']} has a row and no file in {folder}/")
            elif _digest(self._state / folder / f"{stem}.opus") != row["sha256"]:
                self._complain(f"{row['id']} is not what its row says")
            self._compare_sidecar(self._state / folder / f"{stem}.json", row)
        for folder in FOLDERS[1:]:
            for name in present[folder]:
                stem, _, ending = name.partition(".")
                if ending not in {"opus", "json"} or stem not in rows or _home(rows[stem]) != folder:
                    self._complain(f"{folder}/{name} belongs to no row")

    def _compare_sidecar(self, path: Path, row: dict[str, Any]) -> None:
        try:
            written = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            self._complain(f"{path.name} is missing or torn")
            return
        for fact in ("id", "sha256", "remote_id", "completed_ms", "seq"):
            if written.get(fact) != row[fact]:
                self._complain(f"{path.name} and its row differ in {fact}: {written.get(fact)}, {row[fact]}")

    def _server_holdings(self) -> dict[str, str]:
        """Return the hash of the audio by local id; complain of all that is there twice."""
        kept = json.loads((self._server / "recordings.json").read_bytes()).get("recordings", {})
        held: dict[str, str] = {}
        for remote_id, recording in kept.items():
            local_id = recording["metadata"]["client_recording_id"]
            stored = [media for media in recording["media"] if media["object"]]
            if not stored:
                self._verdict.empty += 1
                continue
            if local_id in held:
                self._complain(f"the audio of {local_id} is in two recordings on the server")
            self._verdict.superseded += len(stored) - 1
            last = next(media for media in stored if media["id"] == recording["stored_last"])
            path = self._server / "objects" / last["key"]
            held[local_id] = _digest(path)
            samples = samples_48k(path.read_bytes())
            self._verdict.samples += samples
            self._verdict.per_run[str(recording["metadata"].get("run"))] += samples
            self._verdict.objects.append(path)
            if recording["status"] == "pending":
                self._complain(f"the server was not told that {remote_id} is complete")
        for sha256, times in Counter(held.values()).items():
            if times > 1:
                self._complain(f"the server holds the same audio {times} times: {sha256[:12]}")
        return held


def samples_48k(data: bytes) -> int:
    """Return how much an Ogg Opus stream plays, from its last whole page and its pre-skip (RFC 7845 section 4)."""
    offset, granule = 0, 0
    pre_skip = int.from_bytes(data[28 + 10 : 28 + 12], "little") if data[28:36] == b"OpusHead" else 0
    while len(data) - offset >= _PAGE.size:
        magic, _version, _flags, position, *_rest, count = _PAGE.unpack_from(data, offset)
        lacing = data[offset + _PAGE.size : offset + _PAGE.size + count]
        end = offset + _PAGE.size + count + sum(lacing)
        if magic != b"OggS" or end > len(data):
            break
        granule, offset = max(granule, position), end
    return max(0, granule - pre_skip)


def _home(row: dict[str, Any]) -> str:
    if row["completed_ms"] is not None:
        return "sent"
    return "damaged" if (row["parked_reason"] or "").startswith("damaged:") else "outbox"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
