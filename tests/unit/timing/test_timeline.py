"""How many samples were lost: never fooled by lateness and drift, true when something is flagged or missing."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.audio.source import Block
from agent.timing.timeline import Timeline

RATE = 16_000
BLOCK = 1920
SECONDS = BLOCK / RATE


def blocks(
    count: int,
    *,
    drift_ppm: float = 0,
    jitter: float = 0.0,
    lost: dict[int, float] | None = None,
    flagged: bool = True,
    seed: int = 0,
) -> Iterable[Block]:
    """Yield blocks of a card with this drift, read this late; before block n, ``lost[n]`` seconds are lost."""
    rng = random.Random(seed)
    time_sync, flag = 0.0, False
    for number in range(count):
        gone = (lost or {}).get(number, 0.0)
        flag = flagged and gone > 0
        time_sync += (SECONDS + gone) * (1 + drift_ppm / 1e6)
        yield Block(number, 500 + time_sync + rng.uniform(0, jitter), flag, bytes(2 * BLOCK))


def total(timeline: Timeline, given_blocks: Iterable[Block]) -> float:
    """Return the seconds that the timeline says were lost."""
    return sum(timeline.missing(block) for block in given_blocks) / RATE


@pytest.mark.parametrize("drift", [-200, -50, 0, 50, 200])
def test_drift_and_lateness_are_no_loss(drift: float) -> None:
    """Over two hours, with a crystal off by 200 ppm and reads up to 100 ms late, nothing is said to be lost."""
    assert total(Timeline(RATE, 1), blocks(60_000, drift_ppm=drift, jitter=0.1)) == 0


@given(
    lost=st.dictionaries(st.integers(50, 900), st.floats(0.05, 3.0), max_size=4),
    drift=st.floats(-200, 200),
    jitter=st.floats(0, 0.02),
    seed=st.integers(0, 1 << 30),
)
def test_flagged_losses_are_made_good(lost: dict[int, float], drift: float, jitter: float, seed: int) -> None:
    """Captured and filled together are the elapsed time, within jitter, drift over a minute, and 5 ms a loss."""
    apart = {number: gone for number, gone in lost.items() if not any(0 < number - n < 20 for n in lost)}
    found = total(Timeline(RATE, 1), blocks(1000, drift_ppm=drift, jitter=jitter, lost=apart, seed=seed))
    assert found == pytest.approx(sum(apart.values()), abs=0.02 + jitter + 0.006 * len(apart))


def test_a_loss_that_nobody_flagged_is_found_by_its_lateness() -> None:
    """A second that vanished without a word is filled; 0.1 s, which could be lateness, is not."""
    assert total(Timeline(RATE, 1), blocks(400, lost={100: 1.0}, flagged=False)) == pytest.approx(
        1.0, abs=0.001
    )
    assert total(Timeline(RATE, 1), blocks(400, lost={100: 0.1}, flagged=False)) == 0


def test_small_losses_add_up_to_one_that_is_found() -> None:
    """Forty losses of 20 ms in a row, none flagged: never more than the threshold stays unaccounted."""
    lost = dict.fromkeys(range(100, 500, 10), 0.02)
    assert total(Timeline(RATE, 1), blocks(700, lost=lost, flagged=False)) == pytest.approx(0.8, abs=0.16)


def test_a_capture_process_that_stood_still_and_caught_up_lost_nothing() -> None:
    """Twenty blocks come at once, two seconds late, then all is in time: nothing is filled."""
    timeline = Timeline(RATE, 1)
    regular = list(blocks(300))
    for number in range(100, 120):
        late = regular[119].captured_at + (number - 100) * 0.001
        regular[number] = regular[number]._replace(captured_at=late)
    # Samples of a stalled capture process wait in ALSA's buffer and the pipe; only the last of them can be in time.
    for number in range(120, 300):
        regular[number] = regular[number]._replace(captured_at=regular[number].captured_at + 0.02)
    assert sum(timeline.missing(block) for block in regular) == 0


def test_a_jump_of_the_sequence_is_a_flag() -> None:
    """Blocks that the pipe lost are made good to the sample, though nobody flagged them."""
    kept = [block for block in blocks(300) if not 100 <= block.sequence < 103]
    assert total(Timeline(RATE, 1), kept) == pytest.approx(3 * SECONDS, abs=0.001)


def test_another_opening_begins_anew() -> None:
    """The time between two openings is no loss of samples: the gap log has it as a gap."""
    timeline = Timeline(RATE, 1)
    assert total(timeline, blocks(50)) == 0
    later = [block._replace(captured_at=block.captured_at + 3600) for block in blocks(50)]
    assert total(timeline, later) == 0
