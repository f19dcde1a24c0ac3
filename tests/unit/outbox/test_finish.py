"""A Finish that is cut short at any of its steps is completed, and its audio stays."""

from pathlib import Path

import pytest
from recording_setup import RecordingSetup
from simulated import Script, ScriptedSource

from agent.disk import Disk
from agent.index.reconcile import Reconciler
from agent.outbox.files import Files
from agent.recording.recorder import Recorder


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", ["finish.rename_audio", "finish.rename_sidecar", "finish.sync_outbox"])
def test_a_finish_cut_short_keeps_its_audio(tmp_path: Path, step: str) -> None:
    """Killed before the audio has moved, before the sidecar has its name, or behind both: one whole recording."""
    setup = RecordingSetup(tmp_path)

    def stops(now: str) -> None:
        if now == step:
            raise Killed

    setup.disk_fails = stops
    with pytest.raises(Killed):
        setup.record(_some)
    setup.disk_fails = lambda _step: None
    Reconciler(setup.outbox, Disk()).run()
    (entry,) = setup.entries
    assert Files(tmp_path, Disk()).audio(entry).exists()
    assert entry.size_bytes == Files(tmp_path, Disk()).audio(entry).stat().st_size
    setup.outbox.close()


def _some(source: ScriptedSource, recorder: Recorder) -> Script:
    """Give two seconds of sound, then stop."""
    yield from source.sound(2)
    recorder.stop()
