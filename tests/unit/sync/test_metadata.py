"""The owner's metadata arrives as given, ours beside it; what does not is named in the log (api.md section 1)."""

import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from logcapture import capture_logs

from agent.clock import Instant
from agent.config.loader import check
from agent.config.schema import Config
from agent.config.values import is_ours
from agent.config.values import metadata as complaint_of
from agent.outbox.entry import Entry, changed
from agent.sync.metadata import metadata_of
from agent.sync.remote.remote_command import understand

ENTRY = Entry(
    id="01a0c450-8082-7d4f-a5f7-9e9aa1969036", seq=1, session_id="01a0c450-8082-7d4f-a5f7-9e9aa1969037", segment=2,
    stem="x", mode="continuous", started=Instant(1_767_225_600_000, "", 0, "ntp"), sample_rate=8000, channels=1,
    samples=8000, size_bytes=1000, sha256="0" * 64,
)  # fmt: skip
VENDORS = {
    "session_id": "visit 7",
    "meeting_type": "ward round",
    "location": "room 4",
    "session_type": "x",
    "marks": 3,
}
"""Keys of the vendor's own examples, and one that was ours before."""

keys = st.one_of(
    st.sampled_from([*VENDORS, "client_recording_id", "recorder_gap_ms", "recorder_", "segment", "clock"]),
    st.text(string.ascii_letters + "_äß\U0001f600", min_size=1, max_size=30),
)
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(-1e9, 1e9), st.text(max_size=900)
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=6,
)


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """What is logged meanwhile."""
    with capture_logs() as captured:
        yield captured


@given(
    config=st.dictionaries(keys, values, max_size=6),
    command=st.dictionaries(keys, values, max_size=6),
    person=st.dictionaries(keys, values, max_size=4),
    segment=st.integers(1, 10**6),
    gap_ms=st.integers(0, 10**7),
)
def test_each_key_arrives_or_is_named(
    config: dict[str, Any], command: dict[str, Any], person: dict[str, Any], segment: int, gap_ms: int
) -> None:
    """Whatever the config, a command and a person say: each key has its value on the server, or a line names it."""
    with capture_logs() as said:
        if complaint_of(config) is not None:
            config = {}  # exit 78, which names it
        order = understand({"id": "cmd_1", "type": "start_recording", "params": {"metadata": command}})
        assert complaint_of(order.metadata) is None  # or the recorder would refuse the recording
        if complaint_of(person) is not None:
            person = {}  # refused where it is asked for, which names it
        given_to_us = config | dict(order.metadata) | person
        sent = metadata_of(changed(ENTRY, metadata=given_to_us, segment=segment, gap_ms=gap_ms))
    named = {line["key"] for line in said if line["action"] == "metadata_dropped"}
    for key, value in given_to_us.items():
        assert (key in sent and sent[key] == value) or key in named
    for key in command:
        assert key in order.metadata or key[:60] in order.dropped or not key.isprintable()
    assert len(msgspec.json.encode(sent)) <= 4096
    ours = {key: value for key, value in sent.items() if is_ours(key)}
    assert ours["client_recording_id"] == ENTRY.id
    assert (ours["recorder_segment"], ours.get("recorder_gap_ms", 0)) == (segment, gap_ms)
    assert all(isinstance(value, str | int | bool) for value in ours.values())


def test_the_vendors_own_keys_are_the_owners(lines: list[Any]) -> None:
    """``session_id`` and the like of a command arrive as given, beside ours of another name."""
    sent = metadata_of(changed(ENTRY, metadata=VENDORS))
    assert VENDORS.items() <= sent.items()
    assert sent["recorder_session_id"] == ENTRY.session_id
    assert lines == []


@pytest.mark.parametrize("key", ["client_recording_id", "recorder_marks", "recorder_x"])
def test_the_config_may_not_use_our_names(tmp_path: Path, key: str) -> None:
    """The sentence names file, key and what would be right."""
    file = tmp_path / "config.toml"
    file.write_text(f'[recording.metadata]\n{key} = "mine"\n')
    (problem,) = check(file)
    assert "config.toml: recording.metadata" in problem
    assert f'has the key "{key}", which the recorder fills itself' in problem


def test_a_command_wins_over_the_config_and_ours_are_dropped() -> None:
    """A command's own keys are taken one by one: what cannot be sent costs no other."""
    order = understand(
        {
            "id": "cmd_1",
            "type": "start_recording",
            "params": {
                "metadata": {"a": 1, "recorder_x": 2, "client_recording_id": "x", "long": "y" * 5000, "b": 2}
            },
        }
    )
    assert order.metadata == {"a": 1, "b": 2}
    for key in ("recorder_x", "client_recording_id", "long"):
        assert key in order.dropped


def test_what_does_not_fit_goes_from_the_end(lines: list[Any]) -> None:
    """The owner's last keys first, each named; ours stay."""
    owners = {f"key{number}": "x" * 900 for number in range(6)}
    sent = metadata_of(changed(ENTRY, metadata=owners))
    assert [key for key in sent if key.startswith("key")] == ["key0", "key1", "key2", "key3"]
    assert [line["key"] for line in lines] == ["key5", "key4"]


@pytest.mark.parametrize(
    "marks",
    ["[" * 100_000, '[{"a":' * 50_000, "{" + "x" * 5000, "[1" + "0" * 5000 + "]"],
)
def test_marks_that_are_not_what_was_written_cost_themselves_alone(lines: list[Any], marks: str) -> None:
    """Nested without end, text that is none, no JSON: the recording goes with the owner's keys, and a line says why."""
    sent = metadata_of(changed(ENTRY, metadata={"room": "4", "recorder_marks": marks}))
    assert sent["room"] == "4"
    assert "recorder_marks" not in sent
    assert [line["action"] for line in lines] == ["metadata_dropped"]


def test_defaults_are_fine() -> None:
    """The default settings hold no metadata."""
    assert Config().recording.metadata == {}
