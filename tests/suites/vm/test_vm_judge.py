"""The judge itself: the code is read back, lost and doubled sound is found, and the list of known reds bites."""

import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from timecode import HEARD_RATE, SLOT_SECONDS, slot

from agent.panel.led import PATTERNS
from agent.panel.patterns import Pattern
from agent.status.condition import Condition
from vm import continuity, cuts, settings, startup, unplugs, volume, watchdogs
from vm import findings as found
from vm.cuts import ledger, overlaps
from vm.heard import Delivered, Slot, loudest, read_slots
from vm.light import Shown
from vm.microphones import CODES_APART
from vm.usb_sound import LOUDEST, QUIETEST, UsbSound

if TYPE_CHECKING:
    from vm.lab import Row

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
    near = {"cuts.old": f"{found.NEAR}26 of 25"}
    assert found.verdict([finding("old", good=True)], near) == []
    assert found.verdict([finding("old", good=False)], near) == []
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


def test_a_microphone_plays_what_its_switch_and_volume_let_through() -> None:
    """Off is zeros, 6 dB is twice, too much is cut off at 16 bits, and each channel has the same."""

    def played(channels: int = 1, *, muted: bool = False, volume: int = 0) -> np.ndarray:
        device = UsbSound(0, channels)
        device.muted, device.volume = muted, volume
        return np.frombuffer(b"".join(device.packet(START, number) for number in range(100)), "<i2")

    plain = played()
    assert np.abs(plain).max() > 11_000
    assert not played(muted=True).any()
    assert np.abs(played(volume=-6 * 256)).max() == round(np.abs(plain).max() * 10 ** (-6 / 20))
    assert np.count_nonzero(np.abs(played(volume=LOUDEST).astype(int)) >= 32_767) > 100
    assert len(played(volume=QUIETEST)) == 4_800
    assert np.array_equal(played(2).reshape(-1, 2), np.stack((plain, plain), 1))


def test_pauses_stand_out_of_the_code() -> None:
    """A second of each four is 40 dB quieter, as between sentences."""
    device = UsbSound(0, 1)
    device.pauses = True
    second = 4 * (int(START) // 4 + 1)
    quiet, loud = (
        loudest(np.frombuffer(b"".join(device.packet(at, number) for number in range(1000)), "<i2")[::3])
        for at in (float(second), float(second + 1))
    )
    assert loud == pytest.approx(volume.CODE_DBFS, abs=0.5)
    assert loud - quiet == pytest.approx(40, abs=1)


def test_settings_are_the_images_with_what_a_part_changes() -> None:
    """What is written reads as the same values, and the image's others stay."""
    written = settings.merged(settings.SETTINGS, {"audio": {"channel": "mix"}, "led": {"pins": 4}})
    read = tomllib.loads(settings.toml(written))
    assert read == {
        **settings.SETTINGS,
        "audio": {"input": settings.NAMED, "channel": "mix"},
        "led": {"pins": 4},
    }


def test_lines_about_bad_sound_are_told_from_others() -> None:
    """Only the action at the beginning of a line counts."""
    journal = (
        "microphone_quiet  the microphone is too quiet\nmicrophone_open  is open\n"
        "capture_control_closed  switched off\nstatus  microphone_silent\n"
    )
    assert volume.logged(journal) == ["microphone_quiet", "capture_control_closed"]
    assert volume.is_shown({"percent": 13, "on": True}, (12, True))
    assert not volume.is_shown({"percent": 12, "on": False}, (12, True))
    assert not volume.is_shown(None, (12, True))


def delivered(first: float, seconds: float, *, faster: float = 0.0, late: float = 0.0) -> Delivered:
    """Return a recording whose claimed time goes faster than the code in it."""
    times = np.arange(np.ceil(first * 2), np.floor((first + seconds) * 2)) / 2
    slots = [Slot(float(at), float((at - first) * (1 + faster)) + late, 1) for at in times]
    return Delivered("one", first, seconds, slots, 1)


def test_drift_is_found_and_lateness_is_none() -> None:
    """A clock that is 100 ppm fast is 180 ms off after half an hour; one that is only late does not drift."""
    fast = continuity.drift([delivered(START, 1800, faster=1e-4)])
    assert fast is not None
    assert fast.per_million == pytest.approx(100, abs=1)
    assert fast.worst == pytest.approx(0.09, abs=0.002)
    late = continuity.drift([delivered(START, 60, late=0.3), delivered(START + 60, 60, late=0.3)])
    assert late is not None
    assert late.worst < 0.001
    assert continuity.drift([]) is None


def test_slots_that_were_not_heard_are_counted_between_two_moments() -> None:
    """Those that are not whole between the moments are not asked for."""
    whole = delivered(START, 10)
    assert continuity.missing([whole], START, START + 10) == []
    holed = replace(whole, slots=[slot for slot in whole.slots if not START + 3 <= slot.at <= START + 4])
    assert len(continuity.missing([holed], START, START + 10)) == 2
    assert continuity.missing([holed], START, START + 3) == []


def test_a_slot_that_a_cut_goes_through_is_not_missing() -> None:
    """Between two recordings that follow one another it can be read in neither; an absence is missing all the same."""
    first = delivered(START, 9.9)
    assert continuity.missing([first, delivered(START + 9.9, 10)], START, START + 19) == []
    assert len(continuity.missing([first, delivered(START + 14.9, 5)], START, START + 19)) > 8


def test_gaps_of_an_absence_are_added_up() -> None:
    """Those of another time, and those without a beginning, are not."""
    gaps: list[Row] = [{"from": "2026-01-01T00:00:10.000Z", "seconds": 3.0},
            {"from": "2026-01-01T00:00:13.000Z", "seconds": 2.0},
            {"from": "2026-01-01T00:01:10.000Z", "seconds": 9.0}, {"from": None, "seconds": 4.0}]  # fmt: skip
    begin = 1_767_225_610.0
    assert continuity.noted(gaps, begin, begin + 5) == 5.0


def test_the_pause_around_a_restart_is_the_longest_one() -> None:
    """Its ends are the end of the last sound and the beginning of the next; sound without one has none."""
    assert watchdogs.longest_pause([1.0, 1.5, 2.0, 30.0, 30.5], 0) == (2.5, 30.0)
    assert watchdogs.longest_pause([1.0, 1.5, 2.0, 30.0, 30.5], 29) is None
    assert watchdogs.longest_pause([], 0) is None


def test_a_plug_that_is_pulled_again_at_once_is_not_waited_for() -> None:
    """One that stays silent although nobody pulled it at once counts to its end."""
    pulls = [cuts.Cut(1, 0.0, 10.0, 9.0), cuts.Cut(2, 12.0, 13.0, 0.0), cuts.Cut(3, 15.0, 30.0, 10.0)]
    assert unplugs.after_plugs([1.0, 20.0, 35.5], pulls, 32.0) == [5.0, 3.5]
    assert unplugs.after_plugs([1.0, 20.0], pulls, 32.0) == [5.0, float("inf")]


def test_times_of_stops_are_read_in_pairs() -> None:
    """In whatever order systemctl prints them."""
    ends, exits = startup.INACTIVE, startup.EXIT
    printed = f"{ends}=1500000\n{exits}=1000000\n{exits}=3000000\n{ends}=3100000\n"
    assert startup.pauses(printed) == pytest.approx([0.5, 0.1])
