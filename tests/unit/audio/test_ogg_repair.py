"""Repair of torn and damaged files, judged by opusinfo and opusdec."""

import io
from collections.abc import Iterable
from pathlib import Path

import pytest
from opusfile import SERIAL, complaints, decode, write_opus
from speech import speech

from agent.audio.ogg import read_summary
from agent.audio.ogg_page import build_page, lacing_of, read_pages
from agent.audio.ogg_repair import RepairPlan, Unrepairable, carry_out, plan_repair
from agent.config.schema import OpusConfig
from agent.disk import Disk

RATE = 8000
PRE_SKIP = 312
PAGE_SAMPLES = 38400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the file to repair goes."""
    return tmp_path / "torn.opus"


@pytest.fixture
def pages(path: Path) -> list[bytes]:
    """Return the pages of a small file: two of headers, three of audio, 2 s in all; ``path`` holds it."""
    return write_opus(path, speech(RATE, 1, 2 * RATE), RATE, 1, OpusConfig(bitrate_kbps=8, frame_ms=40))


def repair(path: Path, content: bytes | bytearray | None = None) -> RepairPlan:
    """Write content, plan, apply, and return the plan."""
    if content is not None:
        path.write_bytes(content)
    plan = plan_repair(path)
    carry_out(plan, path, Disk())
    return plan


def judge(path: Path, contents: Iterable[bytes]) -> list[int]:
    """Have each file checked by opusinfo and return how many samples opusdec makes of each."""
    lengths = []
    for content in contents:
        path.write_bytes(content)
        assert complaints(path) == ""
        lengths.append(len(decode(path, 48000)) // 2)
    return lengths


def test_a_file_torn_at_any_byte_becomes_whole(path: Path, pages: list[bytes]) -> None:
    """Cut anywhere, a file keeps all whole pages and satisfies the judges; without audio it is refused."""
    whole = b"".join(pages)
    ends = [sum(map(len, pages[: count + 1])) for count in range(len(pages))]
    results: dict[bytes, int] = {}
    for size in range(len(whole)):
        kept = sum(end <= size for end in ends) - 2
        if kept <= 0:
            with pytest.raises(Unrepairable):
                repair(path, whole[:size])
            assert path.read_bytes() == whole[:size]
            continue
        plan = repair(path, whole[:size])
        assert (plan.audio_pages, plan.truncate_to, plan.cut_bytes) == (
            kept,
            ends[kept + 1],
            size - ends[kept + 1],
        )
        assert plan.samples_48k == kept * PAGE_SAMPLES - PRE_SKIP
        assert not plan.already_complete
        results[path.read_bytes()] = plan.samples_48k
    assert len(results) == 2
    assert judge(path, results) == list(results.values())


def test_a_flipped_byte_costs_what_follows_and_no_more(path: Path, pages: list[bytes]) -> None:
    """With any single byte wrong, the pages before it are kept as they were and the file is whole again."""
    whole = b"".join(pages)
    ends = [sum(map(len, pages[: count + 1])) for count in range(len(pages))]
    results: dict[bytes, int] = {}
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        kept = sum(end <= position for end in ends) - 2
        if kept <= 0:
            with pytest.raises(Unrepairable):
                repair(path, damaged)
            continue
        plan = repair(path, damaged)
        assert plan.samples_48k == kept * PAGE_SAMPLES - PRE_SKIP
        results[path.read_bytes()] = plan.samples_48k
    assert (
        judge(path, results)
        == list(results.values())
        == [PAGE_SAMPLES - PRE_SKIP, 2 * PAGE_SAMPLES - PRE_SKIP]
    )


def test_a_whole_file_is_left_alone(path: Path, pages: list[bytes]) -> None:
    """A finished file needs nothing, not even a write."""
    plan = repair(path)
    assert plan.already_complete
    assert (plan.patch_bytes, plan.cut_bytes, plan.samples_48k) == (b"", 0, 2 * 48000)
    assert path.read_bytes() == b"".join(pages)


def test_repairing_twice_changes_nothing(path: Path, pages: list[bytes]) -> None:
    """After a repair the file counts as complete, and the same plan carried out again does no harm."""
    plan = repair(path, b"".join(pages)[:-1])
    repaired = path.read_bytes()
    carry_out(plan, path, Disk())
    assert path.read_bytes() == repaired
    assert repair(path).already_complete
    assert path.read_bytes() == repaired


def test_what_stands_behind_the_end_is_cut(path: Path, pages: list[bytes]) -> None:
    """Zeros or an old block behind a finished stream go, and the stream itself is not touched."""
    for rest in (bytes(4096), pages[3], b"OggS"):
        plan = repair(path, b"".join(pages) + rest)
        assert not plan.already_complete
        assert (plan.patch_bytes, plan.cut_bytes) == (b"", len(rest))
        assert path.read_bytes() == b"".join(pages)


def test_a_repair_cut_short_by_power_can_be_repeated(path: Path, pages: list[bytes]) -> None:
    """When only the patch or only the cut reached the card, a second repair ends with the same file."""
    torn = b"".join(pages)[:-1]
    plan = repair(path, torn)
    repaired = path.read_bytes()
    patched = bytearray(torn)
    patched[plan.patch_offset : plan.patch_offset + len(plan.patch_bytes)] = plan.patch_bytes
    for state in (patched, torn[: plan.truncate_to]):
        repair(path, state)
        assert path.read_bytes() == repaired


def test_a_packet_that_was_to_go_on_is_dropped(path: Path, pages: list[bytes]) -> None:
    """Where the last sound page ends within a packet, the packet goes and all before it stays."""
    first, second = list(read_pages(io.BytesIO(b"".join(pages))))[2:4]
    cut = build_page(
        second.flags,
        second.granule,
        SERIAL,
        second.sequence,
        second.lacing + b"\xff\xff",
        second.body + bytes(510),
    )
    plan = repair(path, b"".join(pages[:3]) + cut)
    assert plan.samples_48k == second.granule - PRE_SKIP
    kept = path.read_bytes()
    assert plan.truncate_to == len(kept) == sum(map(len, pages[:4]))
    assert judge(path, [kept]) == [plan.samples_48k]

    for granule in (-1, second.granule):
        middle = build_page(0, granule, SERIAL, second.sequence, b"\xff" * 255, bytes(65025))
        plan = repair(path, b"".join(pages[:3]) + middle)
        assert plan.samples_48k == first.granule - PRE_SKIP
        assert judge(path, [path.read_bytes()]) == [plan.samples_48k]


def test_a_repaired_file_keeps_its_tags_and_tells_its_length(path: Path, pages: list[bytes]) -> None:
    """The id in the tags survives, and the summary of the repaired file agrees with the plan."""
    plan = repair(path, b"".join(pages)[:-1])
    summary = read_summary(path)
    assert summary.complete
    assert (summary.samples_48k, summary.end) == (plan.samples_48k, plan.truncate_to)
    assert read_summary(path).tags == {"ENCODER": "test"}


def test_audio_within_the_pre_skip_is_none(path: Path, pages: list[bytes]) -> None:
    """A torn file whose only page of audio would be dropped by the decoder holds nothing to keep."""
    short = build_page(0, PRE_SKIP, SERIAL, 2, lacing_of(3), b"\xf8\xff\xfe")
    path.write_bytes(b"".join(pages[:2]) + short)
    with pytest.raises(Unrepairable, match="ends before its first whole page of audio"):
        plan_repair(path)


def test_what_is_no_ogg_opus_is_refused(path: Path) -> None:
    """A file of something else is named and stays as it is."""
    path.write_bytes(b"RIFF" * 100)
    with pytest.raises(Unrepairable, match=r"torn\.opus is no Ogg Opus file"):
        plan_repair(path)
    assert path.read_bytes() == b"RIFF" * 100
