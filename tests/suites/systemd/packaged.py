"""The Debian package as the container suite sees it: built here, and on a machine of its own."""

import json
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from container import Container
from machine import OLDER

PROJECT = Path(__file__).parents[3]
STATE = "/var/lib/recorder-agent"
PREFIX = "/usr/lib/recorder-agent"
CONFIG = "/etc/recorder-agent/config.toml"
SERVICES = ("recorder-agent.service", "recorder-agent-delivery.service")
TARGET = "recorder-agent.target"
BUILD_SECONDS = 240
APT_SECONDS = 120
START_SECONDS = 20

Row = dict[str, Any]


@dataclass(frozen=True)
class Package:
    """The package, what is in it, and that of the last version that has one service."""

    first: Path
    older: Path
    tree: Path
    said: str
    seconds: float


@dataclass(frozen=True)
class Machine:
    """A machine the package is on, or was."""

    container: Container
    package: Package

    def apt(self, *arguments: str, check: bool = True) -> str:
        """Run apt-get, which must succeed unless it need not, and return what it said."""
        run = self.container.run(
            "apt-get", "--quiet", "--yes", *arguments, timeout=APT_SECONDS, check=check,
            env={"DEBIAN_FRONTEND": "noninteractive"},
        )  # fmt: skip
        return run.stdout + run.stderr

    def install(self, package: Path, *, check: bool = True) -> str:
        """Install a package from its file, with what it depends on."""
        self.container.put(package, f"/var/tmp/{package.name}")  # noqa: S108 - the container's own
        keeps = "Dpkg::Options::=--force-confold"  # the versions explain the settings in other words
        options = ("--no-install-recommends", "--allow-downgrades", "--option", keeps)
        return self.apt("install", *options, f"/var/tmp/{package.name}", check=check)  # noqa: S108

    def answer(self, *command: str) -> Any:
        """Return what a command of the agent answers as JSON."""
        return json.loads(self.container.run("recorder-agent", *command, "--json").stdout)

    def reaches(self, state: str) -> None:
        """Wait until the service is in a state."""
        self.container.wait_for(
            lambda: self.answer("status")["state"] == state, START_SECONDS, f"service that says {state}"
        )

    def queue(self) -> dict[str, Row]:
        """Return the recordings by their id, the open one included."""
        return {row["id"]: row for row in self.answer("queue", "list")}

    def unit(self, unit: str = SERVICES[0]) -> dict[str, str]:
        """Return how the recorder's service is, or another unit."""
        return self.container.show(
            unit,
            "LoadState",
            "ActiveState",
            "UnitFileState",
            "MainPID",
            "NRestarts",
            "FragmentPath",
        )

    def audio(self) -> set[str]:
        """Return the names of all files of audio that were not delivered, without the ending of open ones."""
        folders = (self.container.path(f"{STATE}/{name}") for name in ("recording", "outbox"))
        return {file.name.removesuffix(".part") for folder in folders for file in folder.glob("*.opus*")}


@dataclass(frozen=True)
class Change:
    """The machine before and after something was done to it, and what was said."""

    machine: Machine
    said: str
    config: str
    token: bytes
    audio: set[str]
    process: str


def change(machine: Machine, action: Callable[[], str]) -> Change:
    """Do something to a machine, and keep how it was before."""
    config, token = (
        machine.container.path(path) for path in (CONFIG, f"{STATE}/device-token")
    )  # a link, or it
    before = config.read_text("utf-8"), token.read_bytes(), machine.audio(), machine.unit()["MainPID"]
    return Change(machine, action(), *before)


def build_package(folder: Path) -> Package:
    """Build the package, judged by lintian, and that of the last version that has one service, in a folder."""
    began = time.monotonic()
    said = _build(PROJECT, "--check", "--revision", "2")
    seconds = time.monotonic() - began
    first, tree = PROJECT / _built(said), folder / "tree"
    dpkg("--raw-extract", str(first), str(tree))
    older = folder / "older"
    older.mkdir()
    archive = subprocess.run(
        ["git", "archive", OLDER], cwd=PROJECT, check=True, capture_output=True, timeout=60
    ).stdout
    subprocess.run(["tar", "--extract", f"--directory={older}"], input=archive, check=True, timeout=60)
    cache = PROJECT / "build/deb-cache"
    (older / "build").mkdir()
    (older / "build/deb-cache").symlink_to(cache)
    return Package(first, older / _built(_build(older)), tree, said, seconds)


def _build(project: Path, *options: str) -> str:
    run = subprocess.run(
        ["packaging/deb", *options], cwd=project, timeout=BUILD_SECONDS, check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
    return run.stdout


def _built(said: str) -> str:
    found = re.search(r"^deb: built (dist/\S+\.deb)", said, re.MULTILINE)
    assert found, said
    return found[1]


def dpkg(*arguments: str) -> str:
    """Run dpkg-deb and return what it printed."""
    return subprocess.run(
        ["dpkg-deb", *arguments], check=True, timeout=60, capture_output=True, text=True
    ).stdout
