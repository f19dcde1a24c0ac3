"""Marks: moments of a recording, found again in its metadata, whatever happens to it."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from acceptance import Machine, machine, server, wait_for
from recording_setup import RecordingSetup
from simulated import Script, ScriptedSource
from speech import speech, write_wav

from agent.clock import Instant
from agent.config.schema import RecordingConfig
from agent.disk import Disk
from agent.outbox.entry import Entry, changed
from agent.recording.asked.marks import LONGEST_TEXT, MOST_PER_RECORDING
from agent.recording.asked.requests import MarkRequest
from agent.recording.recorder import Recorder
from agent.sandbox.server import SandboxServer
from agent.sync.metadata import metadata_of


def marks_in(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the marks that the metadata of a recording holds as a text."""
    marks: list[dict[str, Any]] = msgspec.json.decode(metadata.get("recorder_marks", "[]"))
    return marks


BLOCK_MS = 100
"""A mark's offset is that of the press, not of the block in which the recorder notices it."""


def test_a_mark_is_in_the_metadata_of_the_file_it_falls_into(tmp_path: Path) -> None:
    """Two marks, one in each segment, each counted from its own file's first sample."""
    setup = RecordingSetup(tmp_path, RecordingConfig(segment_seconds=10))
    marks: list[MarkRequest] = []

    def mark(text: str) -> None:
        marks.append(MarkRequest(setup.clock.monotonic(), text))
        setup.recorder.mark(marks[-1])

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        setup.clock.after(3.25, lambda: mark("first"))
        setup.clock.after(14.0, lambda: mark(""))
        yield from source.sound(20)
        recorder.stop()

    setup.record(script)

    assert [marks_in(entry.metadata) for entry in setup.entries] == [
        [{"offset_ms": 3250, "text": "first"}],
        [{"offset_ms": 4000}],
    ]
    assert [mark.recording_id for mark in marks] == [entry.id for entry in setup.entries]
    assert all(mark.done.is_set() and mark.error is None for mark in marks)


@pytest.mark.parametrize(("pressed_at", "file", "offset_ms"), [(9.99, 0, 9990), (10.0, 1, 0), (10.03, 1, 30)])
def test_a_mark_around_a_cut_goes_where_its_moment_is(
    tmp_path: Path, pressed_at: float, file: int, offset_ms: int
) -> None:
    """Blocks end exactly at the cut, so that for a moment no file is open."""
    setup = RecordingSetup(tmp_path, RecordingConfig(segment_seconds=10))
    mark = MarkRequest(setup.clock.monotonic() + pressed_at, "here")

    def press(step: str) -> None:
        if step == "finish.sync" and not asked:
            asked.append(mark)
            setup.recorder.mark(mark)

    asked: list[MarkRequest] = []
    setup.disk = Disk(press)

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(9.8)
        if pressed_at < 10:
            asked.append(mark)
            recorder.mark(mark)
        yield from source.sound(8)
        recorder.stop()

    setup.record(script)

    assert mark.error is None
    assert mark.offset_ms == pytest.approx(offset_ms, abs=1)
    assert mark.recording_id == setup.entries[file].id
    assert [len(marks_in(entry.metadata)) for entry in setup.entries] == [1 - file, file]


def test_a_mark_without_a_recording_is_refused(tmp_path: Path) -> None:
    """Nobody is left to believe that a moment was kept."""
    setup = RecordingSetup(tmp_path, RecordingConfig(mode="manual"))
    mark = MarkRequest(setup.clock.monotonic())

    def script(source: ScriptedSource, _: Recorder) -> Script:
        yield from source.nothing(1)

    setup.clock.after(1, lambda: setup.recorder.mark(mark))
    setup.clock.after(3, lambda: setup.recorder.stop())  # noqa: PLW0108 - it does not exist yet
    setup.record(script)
    assert mark.done.is_set()
    assert mark.error is not None
    assert mark.error.message.startswith("nothing is being recorded")


def test_marks_are_bounded(tmp_path: Path) -> None:
    """A switch that bounces for hours, and a novel as text, do not fill the metadata."""
    setup = RecordingSetup(tmp_path, RecordingConfig())
    marks: list[MarkRequest] = []

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        for _ in range(MOST_PER_RECORDING + 5):
            yield from source.sound(0.1)
            marks.append(MarkRequest(setup.clock.monotonic(), "x" * 1000))
            recorder.mark(marks[-1])
        yield from source.sound(1)
        recorder.stop()

    setup.record(script)
    (entry,) = setup.entries
    kept = marks_in(entry.metadata)
    assert len(kept) == MOST_PER_RECORDING
    assert {len(mark["text"]) for mark in kept} == {LONGEST_TEXT}
    assert [mark.error is None for mark in marks] == [True] * MOST_PER_RECORDING + [False] * 5


def test_a_mark_survives_a_kill_and_reaches_the_server(
    machine: Machine, server: SandboxServer, tmp_path: Path
) -> None:
    """A real daemon is killed after a mark; the repaired file is delivered with it."""
    write_wav(tmp_path / "speech.wav", 16_000, 1, speech(16_000, 1, 320_000))
    machine.configure(audio={"input": f"file:{tmp_path / 'speech.wav'}?loop"}, heartbeat={"enabled": False})
    with machine.daemon() as daemon:
        wait_for(lambda: (daemon.status()["recording"] or {"duration_ms": 0})["duration_ms"] > 1500)
        marked = machine.ok("mark", "the door", "--json").json
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait(10)
    machine.configure(recording={"mode": "manual"})
    machine.ok("sync")
    (row,) = machine.queue()
    assert (row["id"], row["recovered"], row["status"]) == (marked["id"], True, "uploaded")
    expected = [{"offset_ms": marked["offset_ms"], "text": "the door"}]
    assert marks_in(row["metadata"]) == expected
    (remote,) = server.state.recordings.by_id.values()
    assert marks_in(remote.metadata) == expected
    assert 1000 <= marked["offset_ms"] <= 60_000


ENTRY = Entry(
    id="01a0c450-8082-7d4f-a5f7-9e9aa1969036",
    seq=1,
    session_id="01a0c450-8082-7d4f-a5f7-9e9aa1969037",
    segment=1,
    stem="x",
    mode="continuous",
    started=Instant(1_767_225_600_000, "", 0, "ntp"),
    sample_rate=8000,
    channels=1,
    samples=8000,
    size_bytes=1000,
    sha256="0" * 64,
)


@pytest.mark.parametrize(("number", "owner"), [(3, 10), (90, 10), (100, 10), (100, 3000), (100, 5000)])
def test_marks_never_make_the_metadata_too_large(number: int, owner: int) -> None:
    """4096 bytes are kept: the owner's last keys go first, then the words of the marks; their moments stay."""
    marks = [{"offset_ms": 1000 * i, "text": "x" * LONGEST_TEXT} for i in range(number)]
    text = msgspec.json.encode(marks).decode()
    entry = changed(ENTRY, metadata={"room": "y" * owner, "recorder_marks": text})
    sent = metadata_of(entry)
    assert len(msgspec.json.encode(sent)) <= 4096
    assert isinstance(sent["recorder_marks"], str)
    shown = marks_in(sent)
    assert [mark["offset_ms"] for mark in shown] == [1000 * i for i in range(number)]
    assert ("text" in shown[0]) == (number == 3)
    assert ("room" in sent) == (owner < 1000)
