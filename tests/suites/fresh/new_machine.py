"""A machine on which nothing was ever set up: Debian from its packages, and a person who may use sudo."""

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from container import Container
from debian import base_tree
from machine import PROJECT, bring_sources

PACKAGES = ("systemd", "systemd-sysv", "dbus", "udev", "ca-certificates", "procps", "git", "make", "sudo")
"""A Debian as its installer leaves it, less whatever the project's own lists could count on; and the three extras."""
PERSON = "person"
CLONE = f"/home/{PERSON}/recorder-agent"
_ORIGIN = "/srv/origin"


@dataclass
class Step:
    """A command that was typed, how it ended, how long it took, and what it printed."""

    command: str
    code: int
    seconds: float
    output: str = field(repr=False)


class NewMachine:
    """One release; as a context manager it is gone afterwards."""

    def __init__(self, release: str) -> None:
        self.release = release
        self.container = Container(f"fresh-{release}", [base_tree(release, PACKAGES)])
        self.steps: list[Step] = []

    def __enter__(self) -> Self:
        container = self.container.boot()
        container.shell(
            f"useradd --create-home --shell /bin/bash {PERSON}\n"
            f"echo '{PERSON} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{PERSON}\n"
            f"chmod 0440 /etc/sudoers.d/{PERSON}"
        )
        bring_sources(container, _ORIGIN)
        container.shell(
            f"chown -R {PERSON}: {_ORIGIN}\n"
            f"runuser -u {PERSON} -- sh -c 'cd {_ORIGIN} && git init -q && git add -A"
            " && git -c user.name=x -c user.email=x@example.org commit -qm x'"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.container.destroy()

    def packages(self) -> set[str]:
        """Return the names of all packages that are installed."""
        shown = self.container.run("dpkg-query", "--show", "--showformat", "${Package}\n").stdout
        return set(shown.split())

    def leftovers(self) -> list[str]:
        """Return caches and virtual environments that a machine from nothing does not have."""
        found = self.container.shell(
            "find / -xdev \\( -name '*.whl' -o -name pyvenv.cfg -o -path '*/.cache/pip' \\)"
            " -not -path '/proc/*' -not -path '*/ensurepip/*' -not -path '/usr/share/python-wheels/*'"
        )
        return found.split()

    def person(self, command: str, *, timeout: float, folder: str = CLONE) -> Step:
        """Type a command as the person, in a shell of a fresh login."""
        began = time.monotonic()
        done = self.container.run(
            "su",
            "--login",
            PERSON,
            "--command",
            f"cd {folder} && {command} 2>&1",
            timeout=timeout,
            check=False,
        )
        step = Step(command, done.returncode, time.monotonic() - began, done.stdout + done.stderr)
        self.steps.append(step)
        print(f"fresh: {self.release}: {command}: exit {step.code} after {step.seconds:.0f} s", flush=True)
        return step

    def clone(self) -> Step:
        """Clone the project, as a person would."""
        return self.person(f"git clone -q {_ORIGIN} {CLONE}", timeout=60, folder="~")


def project_packages() -> set[str]:
    """Return what packaging/apt-packages names in the sections that demo and tests install."""
    script = ". packaging/system-packages && packages runtime build demo test"
    done = subprocess.run(
        ["bash", "-c", f"fail() {{ exit 1; }}; {script}"],
        cwd=PROJECT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return set(done.stdout.split())


def sabotage(machine: NewMachine, control: str) -> None:
    """Break the clone as somebody would by accident: a package forgotten, a database left open."""
    clone = machine.container.path(CLONE)
    if control == "package":
        file, before, after = Path("packaging/apt-packages"), "\nsox\n", "\n"
    elif control == "database":
        file, before, after = Path("agent/index/table/open_index.py"), "self._connection.close()", "pass"
    else:
        raise ValueError(f"CONTROL is {control!r}, and must be package or database")
    text = (clone / file).read_text("utf-8")
    assert before in text, f"{file} has no {before!r} any more: the control is out of date"
    (clone / file).write_text(text.replace(before, after), "utf-8")
