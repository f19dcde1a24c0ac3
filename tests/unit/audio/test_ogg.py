"""The Ogg pager and its reader, with mutagen as the foreign reader."""

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.ogg import OggPage
from mutagen.oggopus import OggOpus
from opusfile import SERIAL, complaints, decode, write_opus
from speech import speech

from agent.audio.ogg import NotOggOpus, OggOpusWriter, OpusHead, read_summary
from agent.audio.ogg_page import LAST, NO_GRANULE, Page, build_page, lacing_of, read_pages

RATE = 16000
SECOND = 48000
TAGS = (("ENCODER", "recorder-agent"), ("RECORDING_ID", "0192"), ("TITLE", "Küche = draußen"))

packets_strategy = st.lists(
    st.tuples(
        st.one_of(
            st.integers(0, 600),
            st.sampled_from([254, 255, 256, 510, 64770, 65024, 65025, 65026, 130050, 130051]),
        ),
        st.sampled_from([480, 960, 1920, 2880]),
    ),
    min_size=1,
    max_size=400,
)


def pager(pages: list[bytes], tags: tuple[tuple[str, str], ...] = TAGS, pre_skip: int = 312) -> OggOpusWriter:
    """Return a writer whose pages go into a list."""
    return OggOpusWriter(
        pages.append,
        OpusHead(1, pre_skip, RATE),
        serial=SERIAL,
        vendor="libopus test",
        tags=tags,
    )


def packets_of(pages: list[Page]) -> list[bytes]:
    """Join the pieces of packets over pages."""
    packets: list[bytes] = []
    unfinished = False
    for page in pages:
        for piece in page.pieces:
            if unfinished:
                packets[-1] += piece
            else:
                packets.append(piece)
            unfinished = False
        unfinished = page.is_unfinished
    return packets


def foreign_packets(stream: bytes) -> list[bytes]:
    """Read all packets with mutagen, which must write each page back byte for byte, CRC included."""
    file = io.BytesIO(stream)
    pages = []
    while file.tell() < len(stream):
        start = file.tell()
        page = OggPage(file)  # type: ignore[no-untyped-call] # mutagen's are
        assert page.write() == stream[start : file.tell()]  # type: ignore[no-untyped-call] # likewise
        pages.append(page)
    packets: list[bytes] = OggPage.to_packets(pages, strict=True)  # type: ignore[no-untyped-call] # likewise
    return packets


@settings(deadline=None, max_examples=60)
@given(packets_strategy, st.integers(0, 479))
def test_any_packets_come_back_the_same(sizes: list[tuple[int, int]], trimmed: int) -> None:
    """Whatever packets go in, both readers give them back; granules, flags and pages keep the rules."""
    packets = [(index.to_bytes(3, "big") * size)[:size] for index, (size, _) in enumerate(sizes)]
    durations = [duration for _, duration in sizes]
    pages: list[bytes] = []
    writer = pager(pages)
    writer.write_headers()
    for packet, duration in zip(packets, durations, strict=True):
        writer.packet(packet, duration)
    writer.finish(max(0, sum(durations) - 312 - trimmed))
    stream = b"".join(pages)

    read = list(read_pages(io.BytesIO(stream)))
    assert [page.offset for page in read] == [sum(map(len, pages[:index])) for index in range(len(pages))]
    assert packets_of(read)[2:] == packets
    assert foreign_packets(stream)[2:] == packets
    assert writer.pages == len(pages)
    assert [page.sequence for page in read] == list(range(len(pages)))
    assert [page.is_last for page in read] == [False] * (len(read) - 1) + [True]

    ended = start = 0
    for page in read[2:]:
        ends_here = sum(value < 255 for value in page.lacing)
        if not ends_here:
            assert page.granule == NO_GRANULE
            continue
        ended += ends_here
        position = sum(durations[:ended])
        assert page.granule == position or page.is_last
        assert position - start < 0.8 * SECOND + max(durations)
        start = position
    assert read[-1].granule == 312 + max(0, sum(durations) - 312 - trimmed)
    assert writer.granule == read[-1].granule


@pytest.mark.parametrize(("duration", "expected"), [(480, 80), (960, 40), (1920, 20), (2880, 14)])
def test_a_page_holds_at_least_800_ms(duration: int, expected: int) -> None:
    """A page is closed with the packet that fills 0.8 s: 40 of 20 ms, 14 of 60 ms."""
    pages: list[bytes] = []
    writer = pager(pages)
    writer.write_headers()
    for _ in range(200):
        writer.packet(b"packet", duration)
    counts = [len(page.pieces) for page in read_pages(io.BytesIO(b"".join(pages)))][2:]
    assert counts == [expected] * (199 // expected)
    assert writer.granule == sum(counts) * duration


def test_the_page_that_ends_the_stream_has_a_packet() -> None:
    """One packet is held back, so that after any number of packets the last page is not empty."""
    for count in (1, 39, 40, 41, 80, 81):
        pages: list[bytes] = []
        writer = pager(pages)
        writer.write_headers()
        for _ in range(count):
            writer.packet(b"packet", 960)
        writer.finish(count * 960 - 312)
        last = list(read_pages(io.BytesIO(b"".join(pages))))[-1]
        assert last.is_last
        assert last.pieces
        assert sum(len(page.pieces) for page in read_pages(io.BytesIO(b"".join(pages)))) == count + 2


@pytest.mark.parametrize("length", [10, 255 * 255 - 60, 65025, 70000, 200_000])
def test_tags_may_span_pages(tmp_path: Path, length: int) -> None:
    """Long tags go over several pages, audio begins on a page of its own, and three readers agree."""
    pcm = speech(RATE, 1, RATE)
    path = tmp_path / "tagged.opus"
    tags = (*TAGS, ("NOTE", "x" * length))
    write_opus(path, pcm, RATE, 1, tags=tags)
    assert complaints(path) == ""
    assert len(decode(path, RATE)) == len(pcm)
    assert read_summary(path).tags == dict(tags)
    foreign: Any = OggOpus(path)  # type: ignore[no-untyped-call] # mutagen's are
    assert {key.upper(): value for key, (value,) in foreign.tags.as_dict().items()} == dict(tags)
    with path.open("rb") as file:
        granules = [page.granule for page in read_pages(file)]
    spans = (length + 200) // 65025
    assert granules[: spans + 3] == [0, *[NO_GRANULE] * spans, 0, 48000 * 4 // 5]


@pytest.mark.parametrize("channels", [1, 2])
def test_a_stream_without_a_sample_is_valid(tmp_path: Path, channels: int) -> None:
    """A recording that was stopped before its first sample is a clean file of no length."""
    pages: list[bytes] = []
    path = tmp_path / "empty.opus"
    writer = OggOpusWriter(
        pages.append,
        OpusHead(channels, 3840, RATE),
        serial=1,
        vendor="v",
        tags=TAGS,
    )
    writer.write_headers()
    writer.finish(0)
    path.write_bytes(b"".join(pages))
    assert complaints(path) == ""
    assert decode(path, RATE) == b""
    summary = read_summary(path)
    assert (summary.complete, summary.samples, summary.audio_pages) == (True, 0, 1)


@pytest.mark.parametrize("samples", [960 * 45 - 311, 960 * 40 - 313, 0])
def test_an_end_beyond_the_packets_or_before_a_written_page_is_refused(samples: int) -> None:
    """finish() cannot promise audio that no packet holds, nor take back what a page has said."""
    writer = pager([])
    writer.write_headers()
    for _ in range(45):
        writer.packet(b"packet", 960)
    with pytest.raises(ValueError, match="the stream cannot end at"):
        writer.finish(samples)


def test_summary_of_a_whole_file(tmp_path: Path) -> None:
    """A finished file tells its format, tags, exact length and that it is complete."""
    path = tmp_path / "speech.opus"
    pages = write_opus(path, speech(RATE, 2, 2 * RATE + 1), RATE, 2, tags=TAGS)
    summary = read_summary(path)
    assert summary.head == (2, 312, RATE)
    assert summary.tags == dict(TAGS)
    assert summary.audio_pages == len(pages) - 2 == 3
    assert (summary.samples, summary.samples_48k) == (2 * RATE + 1, 96003)
    assert summary.complete
    assert summary.end == path.stat().st_size


def test_summary_of_a_torn_file_stops_at_the_tear(tmp_path: Path) -> None:
    """A file without its last bytes is incomplete and counts what stands on whole pages."""
    path = tmp_path / "torn.opus"
    pages = write_opus(path, speech(RATE, 1, 2 * RATE), RATE, 1)
    path.write_bytes(b"".join(pages)[:-1])
    summary = read_summary(path)
    assert not summary.complete
    assert summary.end == sum(map(len, pages[:-1]))
    assert summary.samples_48k == 2 * 38400 - 312


@pytest.mark.parametrize("content", [b"", b"RIFF" * 20, b"OggS" + bytes(100)])
def test_what_is_no_ogg_opus_is_named_so(tmp_path: Path, content: bytes) -> None:
    """Anything else is one sentence with the file's name in it."""
    path = tmp_path / "other.opus"
    path.write_bytes(content)
    with pytest.raises(NotOggOpus, match=r"other\.opus is no Ogg Opus file"):
        read_summary(path)


def test_headers_alone_with_lies_in_them_are_refused(tmp_path: Path) -> None:
    """Tags that claim to be longer than their packet are not believed."""
    pages: list[bytes] = []
    pager(pages).write_headers()
    lie = b"OpusTags" + (1 << 31).to_bytes(4, "little") + b"vendor"
    path = tmp_path / "lie.opus"
    path.write_bytes(pages[0] + build_page(0, 0, SERIAL, 1, lacing_of(len(lie)), lie))
    with pytest.raises(NotOggOpus):
        read_summary(path)


def test_a_page_that_does_not_follow_ends_the_reading() -> None:
    """Sound pages of another stream, out of order, or behind the end are not taken for ours."""
    pages: list[bytes] = []
    writer = pager(pages)
    writer.write_headers()
    for _ in range(120):
        writer.packet(b"packet", 960)
    writer.finish(120 * 960 - 312)
    page = list(read_pages(io.BytesIO(b"".join(pages))))[2]
    foreign = build_page(0, page.granule, SERIAL + 1, 3, page.lacing, page.body)
    for stream in (
        [*pages[:3], foreign, *pages[3:]],
        [*pages[:3], pages[2], *pages[3:]],
        [*pages[:3], *pages[4:]],
    ):
        assert len(list(read_pages(io.BytesIO(b"".join(stream))))) == 3
    behind = build_page(LAST, page.granule, SERIAL, len(pages), page.lacing, page.body)
    assert len(list(read_pages(io.BytesIO(b"".join([*pages, behind]))))) == len(pages)


@pytest.mark.parametrize("key", ["", "A=B", "Ä", "TAB\t"])
def test_a_key_the_format_cannot_carry_is_refused(key: str) -> None:
    """Keys of tags are printable ASCII without the equals sign."""
    with pytest.raises(ValueError, match="is no key for a tag"):
        pager([], tags=((key, "value"),))
