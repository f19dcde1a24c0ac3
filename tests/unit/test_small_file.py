"""The door for files: whatever a folder can hold is a value of a bounded type or one kind of exception."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.bounds import LATEST_MS, Count
from agent.clock import Instant
from agent.gaps.log import FILE, GAP, Cause, Gap
from agent.outbox import sidecar
from agent.outbox.entry import ENTRY, Entry
from agent.recording.asked.marks import KEPT
from agent.recording.days.gapsfile import read_gaps
from agent.recording.segment import START, SegmentStart
from agent.small_file import SMALL_BYTES, UnusableFile, decode, is_regular, load
from agent.timing.known_time import BOOTS

MOMENT = Instant(1_700_000_000_000, "boot", 5000, "ntp")
ENTRY_OF_OURS = Entry(
    id="01a2", seq=7, session_id="01a2", segment=1, stem="20260101T000000Z-00000007-01a2", mode="manual",
    started=MOMENT, sample_rate=16000, channels=1, samples=16000, size_bytes=4000, sha256="ab" * 32,
    metadata={"room": "4"}, remote_id="rec_1", created_ms=1_700_000_001_000,
)  # fmt: skip
NUMBERS = msgspec.json.Decoder(dict[str, Count])


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


ODD: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "folder": Path.mkdir,
    "socket": a_socket,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to a file": lambda path: path.symlink_to(__file__),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "too large": lambda path: path.write_bytes(bytes(SMALL_BYTES + 1)),
    "endless": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 1 << 40),
    "empty": lambda path: path.write_bytes(b""),
    "not UTF-8": lambda path: path.write_bytes(b'{"a\xf6": 1}'),
    "not JSON": lambda path: path.write_bytes(b"\x00" * 50),
    "another type": lambda path: path.write_bytes(b"[1, 2]"),
    "400 digits": lambda path: path.write_bytes(b'{"a": 1' + b"0" * 400 + b"}"),
    "100,000 deep": lambda path: path.write_bytes(b'{"a":' * 100_000),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_a_folder_can_hold(tmp_path: Path, kind: str) -> None:
    """Each oddity is an UnusableFile with a reason, at once; none blocks, and nothing is read through a link."""
    path = tmp_path / "state.json"
    ODD[kind](path)
    began = time.monotonic()
    with pytest.raises(UnusableFile, match=r"^(is|cannot|contains) .{3,300}$"):
        load(path, NUMBERS)
    assert time.monotonic() - began < 5
    assert is_regular(path) == (kind not in list(ODD)[:7])
    assert sidecar.read(path) is None


def test_a_missing_file_is_no_unusable_one(tmp_path: Path) -> None:
    """Nothing there is another matter."""
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none", NUMBERS)


ABSURD: dict[str, list[object]] = {
    "seq": [2**70, -1, 1.5, "7", None],
    "sample_rate": [0, -1, 2**40, None],
    "channels": [0, 3],
    "samples": [-1, 2**63, 10**400],
    "size_bytes": [2**63, -5],
    "segment": [2**60],
    "id": ["", "../x", "a" * 65, "a\n", "a/b", 5],
    "stem": ["../../etc/passwd", "a/b", "", "x" * 129],
    "sha256": ["AB" * 32, "ab" * 31, "zz" * 32],
    "started": [None, {"wall_ms": 2**63, "boot_id": "", "boot_ms": 0, "clock": "ntp"}, []],
    "created_ms": [-1, LATEST_MS + 1],
    "gap_ms": [-1],
    "parked_reason": ["x" * 70_000],
    "lineage": ["x" * 65],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in ABSURD for value in ABSURD[field]])
def test_numbers_and_names_that_cannot_be(tmp_path: Path, field: str, value: object) -> None:
    """A sidecar with one absurd value is unusable as a whole; without it the same one is read."""
    fields = msgspec.to_builtins(ENTRY_OF_OURS)
    path = tmp_path / ENTRY_OF_OURS.sidecar_name
    path.write_text(_json(fields))
    assert sidecar.read(path) == ENTRY_OF_OURS
    fields[field] = value
    path.write_text(_json(fields))
    assert sidecar.read(path) is None
    if field in SegmentStart.__struct_encode_fields__ and field != "started":
        start = {name: fields[name] for name in SegmentStart.__struct_encode_fields__}
        assert SegmentStart.from_tags({"RECORDER_AGENT": _json(start)}) is None


def _json(value: object) -> str:
    """Encode what msgspec refuses to encode, too."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_json(key)}: {_json(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return msgspec.json.encode(value).decode()


def test_a_sidecar_under_another_name_is_none(tmp_path: Path) -> None:
    """What a sidecar says of its stem must be its own name: a copied one would make two recordings of one."""
    path = tmp_path / "20260101T000000Z-00000008-01a3.json"
    path.write_bytes(sidecar.encode(ENTRY_OF_OURS))
    assert sidecar.read(path) is None


def test_one_bad_line_costs_one_gap(tmp_path: Path) -> None:
    """A line of the gap log that is no UTF-8, absurd or torn is skipped; the others are read."""
    good = [Gap(Cause.MUTED, MOMENT, None, 5), Gap(Cause.CUT, Instant(1, "b", 2, "ntp"), None, 7)]
    lines = [
        msgspec.json.encode(good[0]),
        b'{"cause":"muted\xf6"}',
        b'{"cause":"muted","start":{"wall_ms":1,"boot_id":"b","boot_ms":1' + b"0" * 400 + b',"clock":"ntp"}}',
        b"[" * 100_000,
        msgspec.json.encode(good[1]),
        b'{"cause":"mut',
    ]
    (tmp_path / FILE).write_bytes(b"\n".join(lines))
    assert read_gaps(tmp_path) == good


@pytest.mark.parametrize(
    ("decoder", "value"),
    [
        (ENTRY, ENTRY_OF_OURS),
        (GAP, Gap(Cause.MUTED, MOMENT, MOMENT, 5)),
        (START, SegmentStart("a", 1, "a", 1, "manual", MOMENT, 16000, 1)),
        (BOOTS, {"boot": {"offset_ms": 5, "source": "ntp"}}),
        (KEPT, {"id": [{"offset_ms": 5, "text": "here"}]}),
        (NUMBERS, {"2026-01-01": 5}),
    ],
    ids=["sidecar", "gap", "tags", "boots", "marks", "usage"],
)
def test_every_bit_flipped(decoder: msgspec.json.Decoder[object], value: object) -> None:
    """Whatever single bit a card loses, the rest is a value of the type or an UnusableFile, and can be encoded."""
    data = msgspec.json.encode(value)
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            found = decode(decoder, bytes(flipped))
        except UnusableFile:
            continue
        msgspec.json.encode(found)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """No bytes raise anything else."""
    for decoder in (ENTRY, GAP, START, BOOTS, KEPT, NUMBERS):
        try:
            decode(decoder, data)
        except UnusableFile:
            continue
