"""``make demo`` and ``make test`` on machines made from nothing: two releases side by side, an ordinary user with sudo.

CONTROL=package takes a package out of the project's list, CONTROL=database leaves the index open: then the tests must
be red, and a part of them is run that shows it.
"""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from new_machine import NewMachine, Step, project_packages, sabotage

RELEASES = ("bookworm", "trixie")
DEMO_SECONDS, TEST_SECONDS = 400.0, 1500.0
CONTROL = os.environ.get("CONTROL", "")
SHORT_TESTS = (
    "make setup-test && "
    ".venv/bin/python -m pytest -q tests/unit/audio/test_wav_file.py tests/acceptance/test_backlog.py"
)
SHOWN_CHARACTERS = 12_000
RUNS = 2
"""The tests of anybody, and those that need root."""


def _live(machine: NewMachine) -> None:
    """Do all that a person does on one machine; what fails is judged by the tests."""
    if machine.clone().code:
        return
    if CONTROL:
        sabotage(machine, CONTROL)
        machine.person(SHORT_TESTS, timeout=TEST_SECONDS)
        return
    machine.person("make demo", timeout=DEMO_SECONDS)
    machine.person("make test", timeout=TEST_SECONDS)


@pytest.fixture(scope="module")
def machines() -> Iterator[dict[str, NewMachine]]:
    """Both machines after everything was done on them, at the same time."""
    assert os.geteuid() == 0, "containers need root: run this suite with sudo"
    with ExitStack() as stack, ThreadPoolExecutor(len(RELEASES)) as pool:
        made = list(pool.map(lambda release: stack.enter_context(NewMachine(release)), RELEASES))
        for machine in made:
            packages = machine.packages()
            print(
                f"\nfresh: {machine.release} begins with {len(packages)} packages: {' '.join(sorted(packages))}"
            )
            there = packages & project_packages()
            assert not there - {"e2fsprogs", "iproute2"}, (
                f"{machine.release} has what the project must install: {there}"
            )
            assert machine.leftovers() == []
        list(pool.map(_live, made))
        yield {machine.release: machine for machine in made}


@pytest.mark.parametrize("release", RELEASES)
def test_everything_sets_itself_up_and_passes(machines: dict[str, NewMachine], release: str) -> None:
    """Clone, demo and tests end with 0; no test is skipped; the demo has delivered. With CONTROL they are red."""
    judge = _is_red if CONTROL else _is_green
    judge(machines[release].steps)


def _is_green(steps: list[Step]) -> None:
    for step in steps:
        assert step.code == 0, f"{step.command}\n{step.output[-SHOWN_CHARACTERS:]}"
    demo, tests = steps[1:]
    assert "delivered" in demo.output
    assert len(re.findall(r"\d+ passed", tests.output)) == RUNS, tests.output[-SHOWN_CHARACTERS:]
    assert not re.search(r"\d+ skipped", tests.output), tests.output[-SHOWN_CHARACTERS:]


def _is_red(steps: list[Step]) -> None:
    """What was broken on purpose is named."""
    step = steps[-1]
    assert step.code != 0
    sign = "FileNotFoundError" if CONTROL == "package" else "unclosed database"
    assert sign in step.output, step.output[-SHOWN_CHARACTERS:]
