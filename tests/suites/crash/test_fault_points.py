"""Killed, disk full, disk failing: at every durable step of a life, judged after the next start."""

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from cases import Case, Preparation, no_preparation, report, steps_of_life, suffer
from crash_setup import Driver, clear, fresh_seed, in_parallel, say, segment_factory, shuffled, sound
from faults import EIO, ENOSPC, KILL, KINDS, LONG
from scenes import SCENES

LEAST_POINTS = 40
ONLY = re.compile(os.environ.get("CRASH_POINTS", ""))
"""A pattern of steps, to look at some of them again."""
NOT_THE_DISK = ("call.", "answer.", "progress.")


def test_a_fault_at_every_durable_step_loses_nothing() -> None:
    """Killed, ENOSPC, EIO, and full for 30 s, at every step: after a restart nothing is lost, stuck or there twice.

    Rows and files agree, each recording is delivered within 24 simulated hours, and the server has its audio once.
    """
    seed = fresh_seed()
    with segment_factory("points") as folder:
        wav = sound(folder, 4)
        driver = Driver()
        planned: list[tuple[Preparation, Case]] = []
        known: set[str] = set()
        for scene in (no_preparation, *SCENES):
            steps = steps_of_life(driver, folder / scene.__name__, wav, scene)
            fresh = [step for step in dict.fromkeys(steps) if step not in known and is_durable(step)]
            say(f"{scene.__name__}: {len(steps)} steps, {len(fresh)} new points")
            planned += [(scene, case) for case in cases_of(steps, fresh, known) if ONLY.search(case.step)]
            known |= set(fresh)
        driver.close()
        say(f"{len(known)} named durable points: {' '.join(sorted(known))}")
        assert len(known) >= LEAST_POINTS

        def one(driver: Driver, item: tuple[int, tuple[Preparation, Case]]) -> Case:
            number, (scene, case) = item
            result = suffer(driver, folder / str(number), wav, case, prepare=scene)
            clear(folder / str(number))
            return result

        results = in_parallel(enumerate(shuffled(planned, seed)), one)

    bad = [each for kind in KINDS for each in report(kind, [case for case in results if case.kind == kind])]
    assert not bad


def is_durable(step: str) -> bool:
    """Whether the step changes the disk: calls of the API do not."""
    return not step.startswith(NOT_THE_DISK)


def cases_of(steps: list[str], fresh: list[str], known: set[str]) -> Iterator[Case]:
    """Yield a kill at each step of the first life, and at the new ones of a later; the other faults once a point."""
    for at, step in enumerate(steps):
        if not known or step in fresh:
            yield Case(KILL, at, step)
    for kind in (ENOSPC, EIO, LONG):
        yield from (Case(kind, steps.index(step), step) for step in fresh)


@pytest.mark.parametrize("step", ["write.page", "finish.last_page"])
def test_without_repair_the_oracle_finds_the_loss(step: str, tmp_path: Path) -> None:
    """The control: with the repair of open files switched off, a kill while writing is found."""
    wav = sound(tmp_path, 4)
    driver = Driver()
    steps = steps_of_life(driver, tmp_path / "calm", wav)
    at = steps.index(step) + 1
    judge = partial(suffer, driver, case=Case(KILL, at, steps[at]), wav=wav)
    whole, torn = judge(folder=tmp_path / "whole"), judge(folder=tmp_path / "torn", broken="repair")
    driver.close()
    say(f"control: {torn}")
    assert not whole.complaints
    assert torn.complaints
