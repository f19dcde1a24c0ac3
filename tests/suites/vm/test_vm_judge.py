"""The judge itself: the code is read back, lost and doubled sound is found, and the list of known reds bites."""

import numpy as np
from timecode import HEARD_RATE, SLOT_SECONDS, slot

from agent.panel.led import PATTERNS
from agent.panel.patterns import Pattern
from agent.status.condition import Condition
from vm import findings as found
from vm.cuts import ledger, overlaps
from vm.heard import read_slots
from vm.light import Shown
from vm.microphones import CODES_APART

START = 1_790_000_000.25


def sound(first: float, seconds: float, microphone: int = 1) -> np.ndarray:
    """Return what a microphone plays from a moment on."""
    number = int(first / SLOT_SECONDS)
    count = int(seconds / SLOT_SECONDS) + 2
    shift = (microphone - 1) * CODES_APART
    whole = np.concatenate([slot((number + shift + index) & 0xFFFF, HEARD_RATE) for index in range(count)])
    begin = round((first - number * SLOT_SECONDS) * HEARD_RATE)
    return whole[begin : begin + round(seconds * HEARD_RATE)]


def test_code_is_read_back_with_its_time_and_microphone() -> None:
    for microphone in (1, 2):
        read = read_slots(sound(START, 10, microphone), START + 0.8)
        assert len(read) >= 18
        assert {each.microphone for each in read} == {microphone}
        assert all(abs(each.at - each.offset - START) < 0.03 for each in read)


def test_sound_that_is_missing_is_not_read() -> None:
    heard = sound(START, 10)
    heard[3 * HEARD_RATE : 6 * HEARD_RATE] = 0
    times = [each.offset for each in read_slots(heard, START)]
    assert not [each for each in times if 2.6 < each < 5.9]
    assert len(times) in range(11, 15)


def test_noise_holds_no_code() -> None:
    noise = np.random.default_rng(7).normal(0, 8000, 8 * HEARD_RATE).astype(np.int16)
    assert read_slots(noise, START) == []


def test_ledger_counts_what_is_inside_its_time() -> None:
    rows = [
        {"started_at": "2026-01-01T00:00:00.000Z", "ended_at": "2026-01-01T00:00:10.000Z",
         "duration_ms": 10_000, "status": "uploaded"},
        {"started_at": "2026-01-01T00:00:30.000Z", "ended_at": "2026-01-01T00:00:35.000Z",
         "duration_ms": 5_000, "status": "ready"},
    ]  # fmt: skip
    gaps = [{"from": "2025-12-31T23:59:50.000Z", "seconds": 9.0, "cause": "not_running"},
            {"from": "2026-01-01T00:00:10.000Z", "seconds": 20.0, "cause": "not_running"}]  # fmt: skip
    assert ledger(rows, gaps) == (15.0, 20.0, 35.0)
    assert overlaps(gaps[1], 1_767_225_612.0, 1_767_225_625.0)
    assert not overlaps(gaps[0], 1_767_225_612.0, 1_767_225_625.0)


def test_known_reds_bite_in_both_directions() -> None:
    def finding(name: str, *, good: bool | None) -> found.Finding:
        return found.Finding("cuts", name, "1", "0", good)

    reds = {"cuts.old": "a reason", "cuts.elsewhere": "not judged in this run"}
    assert found.verdict([finding("old", good=False), finding("new", good=True)], reds) == []
    assert found.verdict([finding("new", good=False)], reds) == ["cuts.new is red"]
    assert len(found.verdict([finding("old", good=True)], reds)) == 1
    assert found.verdict([finding("old", good=None)], {}) == []
    assert found.verdict([finding("twice", good=True), finding("twice", good=False)], {}) == [
        "cuts.twice is red"
    ]


def test_nothing_is_judged_on_a_host_without_time() -> None:
    rows = found.Findings(print)
    rows.begin("cuts")
    rows.check("lost_per_cut", "22 s", "7 s", good=False)
    rows.host(0.8)
    assert [line for line in found.verdict(rows.all, {}) if "too busy" in line]
    assert len(found.verdict(rows.all, {})) == 1


def played(pattern: Pattern, seconds: float) -> Shown:
    """Return what the log of an LED of one brightness has of a pattern."""
    runs: list[tuple[bool, float]] = []
    while sum(length for _, length in runs) < seconds:
        for step in pattern:
            lit = any(step.colour)
            if runs and runs[-1][0] == lit:
                runs[-1] = (lit, runs[-1][1] + step.seconds)
            else:
                runs.append((lit, step.seconds))
    whole = runs[1:-1]
    return Shown(
        sum(length for _, length in whole),
        [length for lit, length in whole if lit],
        [length for lit, length in whole if not lit],
    )


def test_the_led_of_one_condition_is_taken_for_no_other() -> None:
    shown = {condition: played(pattern, 24) for condition, pattern in PATTERNS.items()}
    assert [each for each, seen in shown.items() if seen.is_recording] == [Condition.RECORDING]
    assert [each for each, seen in shown.items() if seen.is_no_microphone] == [Condition.NO_MICROPHONE]
