"""A life with a fault, the life after it, and the verdict: what the fault tests have in common."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash_setup import RATE, Driver, Ground, say
from event_log import Story
from faults import KILL, LONG, NONE

SECONDS = 3.5
"""Of sound in one life: two recordings, of 2 s and of 1.5 s."""
MOST_LOST = 1.0
"""Seconds of sound that one fault may cost."""
TRIES_OF_FULL_DISK = 4
"""How often in 30 s a full disk is tried; each time with a block of a quarter of a second."""

BLOCK_SECONDS = 0.25

Preparation = Callable[[Ground, Driver, Path], None]


@dataclass(frozen=True)
class Case:
    """A fault of a kind at a step, and what became of it."""

    kind: str
    at: int
    step: str
    complaints: tuple[str, ...] = ()
    lost: float = 0.0
    superseded: int = 0
    empty: int = 0

    def __str__(self) -> str:
        return f"{self.kind} at {self.step} ({self.at}): {'; '.join(self.complaints) or f'lost {self.lost:.3f} s'}"


def no_preparation(_ground: Ground, _driver: Driver, _wav: Path) -> None:
    """Begin with nothing."""


def no_damage(_ground: Ground) -> None:
    """Leave everything as the fault has left it."""


def steps_of_life(
    driver: Driver, folder: Path, wav: Path, prepare: Preparation = no_preparation
) -> list[str]:
    """Live without a fault, and return all its steps; the oracle must be content with it."""
    with Ground(folder) as ground:
        prepare(ground, driver, wav)
        before = len(ground.story().steps)
        ended = ground.live(driver, wav=wav, seconds=SECONDS, prune=True)
        story = ground.story()
        assert ended == {"signal": None, "code": 0}, story.said
        assert ground.judge(story.finished).complaints == []
        return story.steps[before:]


def suffer(
    driver: Driver,
    folder: Path,
    wav: Path,
    case: Case,
    *,
    prepare: Preparation = no_preparation,
    damage: Callable[[Ground], None] = no_damage,
    switches: dict[str, Any] | None = None,
    broken: str = "",
) -> Case:
    """Live with the fault, then without, for at most 24 simulated hours; return the case with its figures."""
    with Ground(folder) as ground:
        ground.server.state.set_switches(switches or {})
        prepare(ground, driver, wav)
        ended = ground.live(driver, wav=wav, seconds=SECONDS, prune=True, fault=(case.kind, case.at))
        killed = ended["signal"] == 9
        story = ground.story()
        complaints = []
        if killed != (case.kind == KILL) or story.struck != case.step:
            complaints.append(f"the fault did not strike: {ended}, at {story.struck}")
        damage(ground)
        ended = ground.live(driver, fault=(NONE, -1), broken=broken)
        if ended != {"signal": None, "code": 0}:
            complaints.append(f"the next life ended with {ended}")
            return Case(case.kind, case.at, case.step, tuple(complaints))
        story = ground.story()
        verdict = ground.judge(story.finished)
        lost = lost_seconds(story, verdict.samples)
        complaints += verdict.complaints
        limit = MOST_LOST + (TRIES_OF_FULL_DISK * BLOCK_SECONDS if case.kind == LONG else 0)
        if not -0.001 <= lost <= limit:
            complaints.append(f"{lost:.3f} s of sound were lost")
        return Case(case.kind, case.at, case.step, tuple(complaints), lost, verdict.superseded, verdict.empty)


def lost_seconds(story: Story, samples_48k: int) -> float:
    """Return how much of what was handed to the recorder the server does not hold."""
    return story.handed / RATE - samples_48k / 48000


def report(title: str, cases: list[Case]) -> list[Case]:
    """Print the figures and return the cases that went wrong."""
    bad = [case for case in cases if case.complaints]
    lost = [case.lost for case in cases]
    say(
        f"{title}: {len(cases)} cases at {len({case.step for case in cases})} points, {len(bad)} wrong; "
        f"lost per case: median {statistics.median(lost):.3f} s, most {max(lost):.3f} s; "
        f"uploads repeated within a recording {sum(case.superseded for case in cases)}, "
        f"creates that were repeated and left empty {sum(case.empty for case in cases)}"
    )
    for case in bad[:40]:
        say(f"    {case}")
    return bad
