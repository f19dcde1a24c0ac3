"""The first hour: Debian 12 and 13 from nothing, the README's commands as printed, to a delivered recording.

CONTROL=token types a token that the API refuses: then nothing is delivered, and that must be seen.
"""

import os
import random
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import first_hour
import pytest
from catalogue import of_the_system, sources
from first_hour import NamedSandbox, Owner
from readme import first_commands

RELEASES = ("bookworm", "trixie")
COMMAND_SECONDS = 900.0
REFUSED = 77
BROUGHT = {"recorder-agent", "{command}", "{sys.prefix}/bin/pip", ".venv/bin/pip", "make"}
"""What another sentence brings, or who has the source has."""
CONTROL = os.environ.get("CONTROL", "")
FRIGHTENING = re.compile(r"Traceback|rror:|arning|denied|[Ff]ailed|cannot|Couldn't|SyntaxWarning")
REPOSITORY = "<this repository>"


def _live(owner: Owner) -> None:
    for printed in first_commands():
        if REPOSITORY in printed:
            owner.make_origin()
        command = printed.replace(REPOSITORY, first_hour.ORIGIN)
        watched = "last delivery" if "--watch" in command else ""
        step = owner.type(command, timeout=COMMAND_SECONDS, leave_after=watched)
        if step.code and not CONTROL:
            print(owner.container.journal())
            return


@pytest.fixture(scope="module")
def owners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Owner]]:
    """Both machines after all was typed, side by side."""
    assert os.geteuid() == 0, "containers need root: run this suite with sudo"
    assert CONTROL in {"", "token"}
    if CONTROL:
        first_hour.ANSWERS["Device token:"] = "dtok_wrong"
    with ExitStack() as stack, ThreadPoolExecutor(len(RELEASES)) as pool:

        def begin(release: str) -> Owner:
            folder = tmp_path_factory.mktemp(release)
            address = f"127.83.{random.randrange(256)}.{random.randrange(1, 255)}"
            sandbox = NamedSandbox(folder / "sandbox", address)
            stack.enter_context(sandbox)
            return stack.enter_context(Owner(release, sandbox, address, folder))

        made = list(pool.map(begin, RELEASES))
        list(pool.map(_live, made))
        yield {owner.release: owner for owner in made}


@pytest.mark.parametrize("release", RELEASES)
def test_from_the_first_line_to_a_delivered_recording(owners: dict[str, Owner], release: str) -> None:
    """Every command ends well, the API has the recording, the next ones follow, and nothing frightening is said."""
    owner = owners[release]
    delivered = list(owner.sandbox.objects.glob("*/*"))
    if CONTROL:
        assert not delivered
        install = next(step for step in owner.typed if "systemd/install" in step.command)
        assert install.code == REFUSED
        assert "Nothing is delivered until" in install.shown
        assert "is finished and delivered" not in install.shown
        doctor = next(step for step in owner.typed if "doctor" in step.command)
        assert doctor.code
        assert "First: " in doctor.shown
        return
    commands = [step.command for step in owner.typed]
    asked = [question for step in owner.typed for question in step.asked]
    seconds = sum(step.seconds for step in owner.typed)
    print(f"\nfirst hour: {release}: {len(commands)} commands, {len(asked)} answers, {seconds:.0f} s")
    for step in owner.typed:
        left_by_hand = "--watch" in step.command
        assert step.code in ({0, 130} if left_by_hand else {0}), step.shown[-4000:]
    assert len(commands) == len(first_commands())
    assert delivered
    install = next(step for step in owner.typed if "systemd/install" in step.command)
    assert "it records." in install.shown
    assert "is finished and delivered in about 10 min" in install.shown
    assert not FRIGHTENING.search(install.shown), install.shown
    doctor = next(step for step in owner.typed if "doctor" in step.command)
    assert "it is delivered as" in doctor.shown
    journal = owner.container.journal()
    assert not FRIGHTENING.search(journal), journal
    assert "credential" not in journal, journal


def word_of(command: str) -> str:
    """Return the program of a command that is told, without what stands before it on some machines."""
    return command.replace("{_root()}", "").removeprefix("sudo ").split()[0]


@pytest.mark.parametrize("release", RELEASES)
def test_every_program_that_a_hint_names_is_there(owners: dict[str, Owner], release: str) -> None:
    """After the installation a person can type what sentences and pages advise."""
    said = {word_of(command.text) for command in of_the_system(sources())} - BROUGHT
    programs = sorted(said | {"alsamixer", "alsactl", "journalctl"})
    there = owners[release].container.shell(f"command -v {' '.join(programs)} || true").split()
    assert {Path(each).name for each in there} == set(programs)
    assert len(programs) > 8
