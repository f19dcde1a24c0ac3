"""Waits between tries: bounds, the server's word, and the fixed sequence after a 425."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sync.pacing.backoff import Backoff, verifying_delay

bases = st.floats(0.001, 60)
caps = st.floats(60, 86_400)
attempts = st.integers(-5, 10_000)
seeds = st.integers(0, 2**32)


@given(bases, caps, attempts, seeds)
def test_a_wait_stays_between_floor_and_ceiling(base: float, cap: float, attempt: int, seed: int) -> None:
    """Whatever the attempt, a wait is at least a tenth of the base and at most min(cap, base · 2^attempt)."""
    backoff = Backoff(base, cap, rng=random.Random(seed))
    delay = backoff.delay(attempt)
    assert base / 10 <= delay <= min(cap, base * 2 ** min(max(attempt, 0), 60)) * (1 + 1e-9)


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    """The longest waits are 1, 2, 4 … 256, 300, 300 s with the defaults."""
    backoff = Backoff(rng=random.Random(0))
    ceilings = [backoff.ceiling(attempt) for attempt in range(11)]
    assert ceilings == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_waits_fill_the_whole_range() -> None:
    """Draws reach both ends, from a tenth of the longest wait to all of it, and half of them lie below the middle."""
    backoff = Backoff(1, 300, rng=random.Random(7))
    draws = [backoff.delay(20) for _ in range(2000)]
    assert 30 <= min(draws) < 60
    assert max(draws) > 270
    assert 0.45 < sum(draw < 165 for draw in draws) / len(draws) < 0.55


@given(st.floats(0, 86_400), attempts, seeds)
def test_a_server_is_never_called_before_it_said(retry_after: float, attempt: int, seed: int) -> None:
    """A Retry-After is a lower bound, and a fleet that was told the same does not come back in lockstep."""
    first = Backoff(rng=random.Random(seed)).delay_after(attempt, retry_after)
    second = Backoff(rng=random.Random(seed + 1)).delay_after(attempt, retry_after)
    assert retry_after < first <= retry_after + 300
    assert first != second


@given(attempts, seeds, st.sampled_from([None, 0.0, -5.0]))
def test_without_a_retry_after_the_curve_holds(attempt: int, seed: int, retry_after: float | None) -> None:
    """No Retry-After, or one that is over, leaves the plain draw."""
    assert Backoff(rng=random.Random(seed)).delay_after(attempt, retry_after) == Backoff(
        rng=random.Random(seed)
    ).delay(attempt)


@pytest.mark.parametrize(("base", "cap"), [(0.0, 300.0), (-1.0, 300.0), (10.0, 5.0)])
def test_a_backoff_that_cannot_work_is_refused(base: float, cap: float) -> None:
    """A base of nothing, or above the cap, is a mistake of the caller."""
    with pytest.raises(ValueError, match="base"):
        Backoff(base, cap, rng=random.Random(0))


def test_waits_after_425_are_2_4_8_10_and_end_within_five_minutes() -> None:
    """The sequence of api.md section 4; then None, and never more than 300 s in all."""
    waits: list[float] = []
    for answers in itertools.count(1):
        delay = verifying_delay(answers)
        if delay is None:
            break
        waits.append(delay)
    assert waits[:6] == [2, 4, 8, 10, 10, 10]
    assert 290 < sum(waits) <= 300
    assert verifying_delay(len(waits) + 50) is None


def test_there_is_no_wait_before_the_first_425() -> None:
    """Counting from nothing is a mistake of the caller."""
    with pytest.raises(ValueError, match="first"):
        verifying_delay(0)
