"""Which samples belong to a stretch of voice: exact to the sample, and each accounted for."""

import itertools
from array import array
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.audio.detection.detector import SPEECH_FRAME, FrameFeed
from agent.audio.source import Block
from agent.recording.listener import HeardBlock
from agent.recording.listening.voice import BATCH_SECONDS, Begin, End, Event, Missed, VoiceGate, Write

RATE = 16_000
PRE_ROLL, HANG = 1.0, 2.0
VOICE, NOISE = 1, -1
"""Samples that the scripted detector takes for a voice, and for none: each sample is +-(its number)."""


class Scripted:
    """Hears a voice in a frame that has a positive sample."""

    frame_samples = SPEECH_FRAME
    needed, window = 4, 6

    def judge(self, frame: bytes) -> bool:
        """Return what the frame says."""
        return max(array("h", frame)) > 0

    def reset(self) -> None:
        """Nothing is remembered."""


def pcm(stretches: Sequence[tuple[float, bool]]) -> "array[int]":
    """Return numbered samples for stretches of seconds, positive where there is a voice."""
    out = array("h")
    for seconds, is_voice in stretches:
        sign = VOICE if is_voice else NOISE
        out.extend(
            sign * (1 + number % 30_000) for number in range(len(out), len(out) + round(seconds * RATE))
        )
    return out


def blocks(samples: "array[int]", size: int, lost_before: dict[int, int] | None = None) -> list[HeardBlock]:
    """Cut samples into blocks; before some of them samples were lost."""
    heard, at = [], 0
    for number, begin in enumerate(range(0, len(samples), size)):
        missing = (lost_before or {}).get(number, 0)
        at += missing
        piece = samples[begin : begin + size]
        block = Block(number, 100.0 + (at + len(piece)) / RATE, overflow=False, samples=piece.tobytes())
        heard.append(HeardBlock(block, missing, 0, 100.0 + at / RATE))
        at += len(piece)
    return heard


def run(gate: VoiceGate, heard: Sequence[HeardBlock]) -> list[list[HeardBlock]]:
    """Return the stretches that a gate hands on."""
    stretches: list[list[HeardBlock]] = []
    is_open = False
    events: list[Event] = [event for each in heard for event in gate.take(each)]
    for event in [*events, *gate.reset()]:
        if isinstance(event, Begin):
            assert not is_open
            stretches.append([])
            is_open = True
        elif isinstance(event, End):
            assert is_open
            is_open = False
        elif isinstance(event, Write):
            assert is_open
            stretches[-1].append(event.heard)
    assert not is_open
    return stretches


def sound(stretch: Sequence[HeardBlock]) -> "array[int]":
    """Join the samples of a stretch."""
    return array("h", b"".join(each.block.samples for each in stretch))


def gate_of() -> VoiceGate:
    """Return a gate with the scripted detector."""
    return VoiceGate(FrameFeed(Scripted(), RATE, 1), RATE, 1, pre_roll=PRE_ROLL, hang=HANG)


def test_a_stretch_is_exact_to_the_sample() -> None:
    """From a pre-roll before the end of the fourth voiced frame to a hang after the last one's, whatever the blocks."""
    samples = pcm([(5, False), (3, True), (10, False)])
    frames = range(0, len(samples), SPEECH_FRAME)
    voiced = [number for number in frames if max(samples[number : number + SPEECH_FRAME]) > 0]
    first, last = voiced[0], voiced[-1]
    begin = first + 4 * SPEECH_FRAME - int(PRE_ROLL * RATE)
    end = last + SPEECH_FRAME + int(HANG * RATE)
    for size in (960, 1920, 77, 5000):
        gate = gate_of()
        (stretch,) = run(gate, blocks(samples, size))
        assert sound(stretch) == samples[begin:end]
        assert stretch[0].begins_at == pytest.approx(100 + begin / RATE)
        assert stretch[-1].block.captured_at == pytest.approx(100 + end / RATE)
        assert gate.not_wanted == len(samples) - (end - begin)


@pytest.mark.parametrize(("pause", "count"), [(0.5, 1), (1.9, 1), (2.5, 1), (2.8, 1), (3.2, 2), (10, 2)])
def test_stretches_that_meet_are_one(pause: float, count: int) -> None:
    """A pause shorter than hang and pre-roll together (3 s) divides nothing, and no sample stands twice."""
    samples = pcm([(2, False), (1, True), (pause, False), (1, True), (8, False)])
    gate = gate_of()
    stretches = run(gate, blocks(samples, 1920))
    assert len(stretches) == count
    numbers = [abs(sample) for stretch in stretches for sample in sound(stretch)]
    assert len(numbers) == len(set(zip(numbers, range(len(numbers)), strict=True)))
    assert sum(len(sound(stretch)) for stretch in stretches) + gate.not_wanted == len(samples)
    if count == 1:
        joined = sound(stretches[0])
        begin = samples.index(joined[0])
        assert joined == samples[begin : begin + len(joined)]


def test_a_click_is_no_voice() -> None:
    """Three voiced frames of six begin nothing."""
    samples = pcm([(2, False), (2 * SPEECH_FRAME / RATE, True), (5, False)])
    gate = gate_of()
    assert run(gate, blocks(samples, 1920)) == []
    assert gate.not_wanted == len(samples)


def test_a_voice_at_the_very_start_has_what_there_is() -> None:
    """Without a full pre-roll the stretch begins with the first sample."""
    samples = pcm([(1, True), (5, False)])
    (stretch,) = run(gate_of(), blocks(samples, 1920))
    assert sound(stretch)[0] == samples[0]


def test_lost_samples_keep_their_place() -> None:
    """Samples lost within a stretch are handed on with the block behind them; those before it are not."""
    samples = pcm([(3, False), (3, True), (5, False)])
    lost = {2: 500, 40: 800}
    (stretch,) = run(gate_of(), blocks(samples, 1920, lost))
    assert [each.missing for each in stretch if each.missing] == [800]
    ends = [each.begins_at - each.missing / RATE for each in stretch[1:]]
    assert ends == [pytest.approx(each.block.captured_at) for each in stretch[:-1]]


def test_an_interruption_ends_the_stretch_and_forgets() -> None:
    """After a reset nothing of before is handed on, and the counts agree."""
    gate = gate_of()
    before, after = pcm([(2, True)]), pcm([(0.5, False), (1, True), (5, False)])
    first = run(gate, blocks(before, 1920))
    second = run(gate, blocks(after, 1920))
    assert [len(sound(each)) for each in first] == [len(before)]
    assert sound(second[0])[0] == after[0]
    total = sum(len(sound(each)) for each in first + second)
    assert total + gate.not_wanted == len(before) + len(after)


@given(
    st.lists(st.tuples(st.floats(0.01, 6), st.booleans()), min_size=1, max_size=12),
    st.integers(100, 6000),
    st.dictionaries(st.integers(0, 60), st.integers(1, 40_000), max_size=4),
)
def test_every_sample_is_written_once_or_not_wanted(
    stretches: list[tuple[float, bool]], size: int, lost: dict[int, int]
) -> None:
    """Whatever is said, and whatever is lost: in order, none twice, all counted; memory stays bounded."""
    samples = pcm(stretches)
    gate = gate_of()
    held = 0
    events: list[Event] = []
    heard = blocks(samples, size, lost)
    for each in heard:
        events += gate.take(each)
        held = max(held, sum(len(one.heard.block.samples) // 2 for one in gate._held))
    events += gate.reset()
    found = [event.heard for event in events if isinstance(event, Write)]
    missed = sum(event.samples for event in events if isinstance(event, Missed))
    assert missed + sum(each.missing for each in found) == sum(each.missing for each in heard)
    assert held <= (PRE_ROLL + BATCH_SECONDS) * RATE + 3 * size + SPEECH_FRAME
    times = [(each.begins_at, each.block.captured_at) for each in found]
    assert all(begin < end for begin, end in times)
    assert all(one[1] <= two[0] + 1e-6 for one, two in itertools.pairwise(times))
    assert sum(len(each.block.samples) // 2 for each in found) + gate.not_wanted == len(samples)
