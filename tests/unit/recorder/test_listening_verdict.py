"""The verdict on a simulated life that listens for a voice: what the edges of a life excuse, and what they do not."""

import contextlib
import itertools
import random
from collections.abc import Iterator

import pytest
import simulated_machine
import simulated_verdict
from simulated_asking import Span
from simulated_life import Life
from simulated_machine import Card, SilentEncoder
from simulated_verdict import Listened, life_faults, spans_of

from agent.gaps.log import Cause
from agent.recording import segment_factory

SPOKEN = [Listened(begin, begin + 1000, is_voice=True) for begin in range(10_000, 15_000, 1000)]
"""A voice in blocks of a second."""


@pytest.fixture
def life() -> Iterator[Life]:
    """Give a life that listens for a voice and has a folder; nothing has happened in it."""
    life = Life(0)
    life.mode = "voice"
    yield life
    life.close()


@pytest.mark.parametrize(
    ("recorded_to", "told_to_stop", "lost"),
    [
        (15_000, 14_900, None),
        (14_000, 14_900, None),
        (14_000, 15_100, None),
        (14_000, 15_200, "14000 to 15000"),
        (13_000, 14_900, "13000 to 14000"),
        (13_600, 14_900, "13600 to 14000"),
    ],
    ids=["all", "in the last block", "while it comes late", "long after it", "two blocks", "more than it"],
)
def test_the_block_in_which_the_last_stop_falls_is_excused_and_no_other(
    life: Life, monkeypatch: pytest.MonkeyPatch, recorded_to: int, told_to_stop: int, lost: str | None
) -> None:
    """A voice may end before the block in which the stop falls; what else of it is nowhere is found."""
    recorded = Span(8000, recorded_to, "file 1", recorded_to - 8000)
    monkeypatch.setattr(simulated_verdict, "spans_of", lambda _life: [recorded])
    life.heard = [Listened(0, 10_000, is_voice=False), *SPOKEN]
    life.first_start, life.told_to_stop, life.last_stop = -1, told_to_stop, 15_250
    assert life_faults(life) == ([f"of a voice {lost} is nowhere"] if lost else [])


def test_a_voice_in_short_blocks_is_looked_at_as_a_whole(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second of a voice that is nowhere is found also where each block is shorter than what is excused."""
    monkeypatch.setattr(
        simulated_verdict, "spans_of", lambda _life: [Span(0, 1000, "file 1", 1000), Span(1500, 9000, "", 0)]
    )
    life.heard = [Listened(begin, begin + 250, is_voice=True) for begin in range(250, 9000, 250)]
    life.first_start, life.told_to_stop, life.last_stop = 0, 9000, 9000
    assert life_faults(life) == ["of a voice 1000 to 1500 is nowhere"]


@pytest.mark.parametrize(
    ("lost", "blocks_ago", "is_found"),
    [(0, 0, True), (350, 1, False), (350, 7, False), (350, 8, True), (100, 1, True)],
)
def test_while_a_loss_is_not_certain_moments_may_seem_as_much_earlier(
    life: Life, monkeypatch: pytest.MonkeyPatch, lost: int, blocks_ago: int, is_found: bool
) -> None:
    """Six tenths of a second of a voice may lie before where they are looked for, by what was lost just before."""
    monkeypatch.setattr(
        simulated_verdict, "spans_of", lambda _life: [Span(0, 8000, "file 1", 8000), Span(8600, 9000, "", 0)]
    )
    life.heard = [Listened(begin, begin + 250, is_voice=True) for begin in range(0, 8600, 250)]
    number = len(life.heard) - 1 - blocks_ago
    life.heard[number] = life.heard[number]._replace(lost_before=lost)
    life.first_start, life.told_to_stop, life.last_stop = -1, 9000, 9000
    assert bool(life_faults(life)) is is_found


def test_what_a_stop_leaves_out_is_missing_from_the_next_start_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever in a block of a voice a stop falls: the next start's gap begins where the file ends."""
    monkeypatch.setattr(segment_factory, "OpusEncoder", SilentEncoder)
    monkeypatch.setattr(simulated_machine, "CHANGES", 0.0)
    seed = random.SystemRandom().getrandbits(32)
    print("lives from", seed)
    left_out, lives = 0, (Life(number) for number in itertools.count(seed))
    for life in itertools.islice((each for each in lives if is_plain(each)), 25):
        with contextlib.closing(life):
            run(life, life.rng.uniform(6, 7), speaks=True)
            *_, file = spans_of(life)
            left_out += file.end < life.microphone.heard[-1][1] * 1000 - 100
            life.world.pass_until(life.world.now + 5)
            run(life, 1, speaks=False)
            *_, gap = spans_of(life)
            assert file.what.startswith("file")
            assert (gap.begin, gap.what) == (file.end, Cause.NOT_RUNNING)
            assert gap.said > 5000
    assert left_out > 5


def is_plain(life: Life) -> bool:
    """Whether a life listens for voices, however short; any other is over."""
    if life.mode == "voice" and not life.settings.min_seconds:
        return True
    life.close()
    return False


def run(life: Life, seconds: float, *, speaks: bool) -> None:
    """Let a recorder run for so long, and stop it when it has no time: its block lies ready before it looks."""

    def stop() -> None:
        recorder.stop()
        life.clock.sleep(1.1)

    recorder, _ = life._recorder(Card(life.rng, life.clock))
    life.microphone.speaks = speaks
    life.world.after(seconds, stop)
    recorder.run()
