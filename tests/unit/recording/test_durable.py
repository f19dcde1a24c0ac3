"""How much of what was captured is durable while a file is open."""

from pathlib import Path

from recording_setup import RecordingSetup
from simulated import RATE, Script, ScriptedSource

from agent.audio.ogg import read_summary
from agent.config.schema import RecordingConfig
from agent.recording.recorder import Recorder

FLUSH_SECONDS = 5
BLOCK_SECONDS = 0.1
FRAME_SECONDS = 0.06
"""The longest frame: one is held back for the last page, and one may not be full."""


def test_each_flush_takes_all_that_was_captured_until_then(tmp_path: Path) -> None:
    """A power cut costs ``flush_seconds`` of sound and what is on its way, not an open page more."""
    setup = RecordingSetup(tmp_path, RecordingConfig(segment_seconds=60))
    durable: list[tuple[float, float]] = []

    def observe(step: str) -> None:
        if step == "write.sync":
            (part,) = setup.sink.recording_folder.glob("*.part")
            durable.append((setup.source.given / RATE, read_summary(part).samples / RATE))

    setup.disk_fails = observe

    def script(source: ScriptedSource, recorder: Recorder) -> Script:
        yield from source.sound(32)
        recorder.stop()

    setup.record(script)

    assert len(durable) == 6
    for number, (captured, kept) in enumerate(durable, 1):
        assert captured - number * FLUSH_SECONDS <= number * BLOCK_SECONDS + 0.001
        assert captured - kept <= BLOCK_SECONDS + 2 * FRAME_SECONDS
