"""Why a microphone is of no use: a capture control that is closed is told apart from a broken cable."""

import pytest
from logcapture import capture_logs

from agent.capture.mixer import CaptureControl
from agent.recorder.mixer_watch import AGAIN_SECONDS, MixerWatch, quality_reason
from agent.status.board import Board, Quality


def control(percent: int | None, *, on: bool | None = True) -> CaptureControl:
    """Return a control that stands so."""
    return CaptureControl("Mic", 0, percent, on)


class Scene:
    """A board, a mixer whose readings are counted, and a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.board = Board(lambda: self.now)
        self.mixer: CaptureControl | None = control(60)
        self.readings = 0
        self.watch = MixerWatch(self.board, self._read, lambda: self.now)

    def _read(self) -> CaptureControl | None:
        self.readings += 1
        return self.mixer

    def look(self, seconds: float = 2.0, **changes: object) -> str | None:
        """Let something change and time pass; return the reason that is shown."""
        self.board.report(**changes)
        self.now += seconds
        self.watch.poll()
        return self.board.snapshot.microphone_reason


@pytest.mark.parametrize(
    ("quality", "capture", "expected"),
    [
        (Quality.SILENT, control(0), "its capture control Mic is at 0 %"),
        (Quality.SILENT, control(60, on=False), "its capture control Mic is switched off"),
        (None, control(60, on=False), "its capture control Mic is switched off"),
        (Quality.OK, control(0, on=False), "its capture control Mic is switched off"),
        (
            Quality.SILENT,
            control(60),
            "digital silence, with its capture control Mic at 60 %: it is switched off, or its cable is broken",
        ),
        (Quality.SILENT, None, "digital silence: it is switched off, or its cable is broken"),
        (Quality.QUIET, control(12), "too quiet, with its capture control Mic at 12 %"),
        (Quality.QUIET, control(0, on=None), "its capture control Mic is at 0 %"),
        (Quality.QUIET, None, "too quiet"),
        (Quality.CLIPPING, control(100), "too loud, with its capture control Mic at 100 %"),
        (Quality.CLIPPING, control(0), "too loud, with its capture control Mic at 0 %"),
        (Quality.OK, control(0), None),
        (Quality.OK, control(60), None),
        (Quality.OK, None, None),
        (None, None, None),
        (None, control(0), None),
    ],
)
def test_the_reason(quality: Quality | None, capture: CaptureControl | None, expected: str | None) -> None:
    """A control that is closed is the reason; else what is heard is, with how the control stands."""
    assert quality_reason(quality, capture) == expected


def test_while_all_is_well_the_mixer_is_left_alone() -> None:
    """It is looked at when the microphone is opened and when the first word on its quality is known."""
    scene = Scene()
    for _ in range(100):
        assert scene.look(microphone_state="listening", microphone_id="a") is None
    assert scene.readings == 1
    for _ in range(100):
        assert scene.look(microphone_quality=Quality.OK) is None
    assert scene.readings == 2


def test_a_control_that_is_opened_again_is_seen() -> None:
    """Within ten seconds; and its being closed is said in the log once."""
    scene = Scene()
    scene.mixer = control(60, on=False)
    with capture_logs() as logs:
        for _ in range(30):
            reason = scene.look(microphone_state="listening", microphone_id="a", microphone_name="A Mic")
            assert reason == "its capture control Mic is switched off"
        scene.mixer = control(60)
        assert [scene.look() for _ in range(6)][-1] is None
        scene.mixer = control(0)
        assert scene.look(microphone_state="silent", microphone_quality=Quality.SILENT) is not None
    said = [line["control"] for line in logs if line["action"] == "capture_control_closed"]
    assert said == ["Mic 60 %, switched off", "Mic 0 %, on"]
    assert scene.readings <= 2 + 72 / AGAIN_SECONDS + 2


@pytest.mark.parametrize("state", ["closed", "lost", "wedged", "waiting", "opening"])
def test_of_one_that_is_not_heard_there_is_no_reason(state: str) -> None:
    """What was said before is taken back, and the next opening is looked at anew."""
    scene = Scene()
    scene.mixer = control(0)
    assert scene.look(microphone_state="silent", microphone_quality=Quality.SILENT) is not None
    assert scene.look(microphone_state=state, microphone_quality=None) is None
    assert scene.readings == 1
    scene.mixer = control(50, on=False)
    assert scene.look(microphone_state="listening") == "its capture control Mic is switched off"
    assert scene.readings == 2
