"""The figures of ``level``: how long a peak and a clip stay in sight, and how a line looks."""

import pytest

from agent.capture.mixer import CaptureControl
from agent.cli.level import Level, PeakHold, _facts, _line

MIC = CaptureControl("Mic", 0, 60, on=True)


def heard(peak: float | None, clipped: int = 0) -> Level:
    """Return a moment with a peak."""
    return Level(None if peak is None else peak - 10, peak, clipped, MIC)


def test_the_loudest_peak_is_held_and_then_let_go() -> None:
    """For two seconds, and not a moment longer."""
    hold, seen = PeakHold(2.0), []
    for tenth in range(50):
        hold.take(tenth / 10, heard(-3.0 if tenth == 5 else -40.0))
        seen.append(hold.peak_dbfs)
    assert seen == [-40.0] * 5 + [-3.0] * 20 + [-40.0] * 25


def test_what_clipped_before_is_not_told_again() -> None:
    """The recorder's count grows for as long as it runs; what was there at the first look is old."""
    hold = PeakHold(2.0)
    hold.take(0.0, heard(-9.0, 1000))
    assert hold.clipped_samples == 0
    hold.take(0.1, heard(0.0, 1007))
    hold.take(0.2, heard(0.0, 1007))
    assert hold.clipped_samples == 7
    hold.take(0.3, heard(0.0, 4))  # it was started anew
    assert hold.clipped_samples == 11
    hold.take(2.15, heard(-9.0, 4))
    assert hold.clipped_samples == 4
    hold.take(2.31, heard(-9.0, 4))
    assert hold.clipped_samples == 0


def test_nothing_is_held_of_nothing() -> None:
    """Muted, there is neither level nor peak, and the capture control is shown all the same."""
    hold = PeakHold(2.0)
    hold.take(0.0, heard(None))
    assert _facts(heard(None), hold) == {
        "level_dbfs": None,
        "peak_dbfs": None,
        "clipped_samples": 0,
        "capture": {"control": "Mic", "percent": 60, "on": True},
    }
    assert _line(heard(None), hold).split() == ["[", "]", "–", "Mic", "60", "%,", "on"]


@pytest.mark.parametrize("peak", [0.0, -0.1, -20.0, -59.9, -60.0, -96.0])
def test_the_bar_keeps_its_width(peak: float) -> None:
    """However loud it is; the peak stands as a line in it."""
    hold = PeakHold(2.0)
    hold.take(0.0, heard(peak))
    line = _line(heard(peak), hold)
    assert line.index("]") == 31
    assert line.count("|") == 1
    assert "CLIPS" not in line
    hold.take(0.1, heard(peak, 3))
    assert "CLIPS" in _line(heard(peak, 3), hold)
