"""The versions and hashes that are installed as root: all that the agent needs, and the same in each list."""

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
LOCKED = PROJECT / "packaging/requirements"
NEEDED = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]


def normal(name: str) -> str:
    """Return the name of a library as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: list[str]) -> set[str]:
    """Return the names of libraries that requirements ask for."""
    found = (re.match(r"[A-Za-z0-9._-]+", each) for each in requirements)
    return {normal(each[0]) for each in found if each}


def locked(name: str) -> dict[str, str]:
    """Return the versions of a list by name; each has at least one hash, and nothing else stands there."""
    text = (LOCKED / f"{name}.txt").read_text("utf-8")
    versions = {}
    for entry in re.split(r"\n(?=[a-z0-9])", text.strip()):
        head = re.match(r"([a-z0-9-]+)==([^ ;]+)", entry)
        assert head, entry
        assert re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry
        versions[head[1]] = head[2]
    return versions


@pytest.mark.parametrize("extra", ["base", "gpio", "metrics", "web"])
def test_all_that_is_needed_is_locked(extra: str) -> None:
    """Whoever changes pyproject.toml runs packaging/lock: what is needed is there, and what is not needed is not."""
    wanted = NEEDED["dependencies"] + NEEDED["optional-dependencies"].get(extra, [])
    there = locked(extra)
    assert names(wanted) <= set(there)
    known = names(wanted)
    looked_at: set[str] = set()
    while rest := known - looked_at:
        name = rest.pop()
        looked_at.add(name)
        known |= _requirements_of(name)
    assert set(there) <= known, "run packaging/lock"


def _requirements_of(name: str) -> set[str]:
    """Return what a library needs, for any platform; nothing of one that is not installed here."""
    try:
        needs = distribution(name).requires or []
    except ModuleNotFoundError:
        return set()
    return names([each for each in needs if "extra ==" not in each])


def test_a_library_has_one_version() -> None:
    """Lists are installed together: where a library is in two of them it has the same version."""
    lists = [locked(name) for name in ("build", "base", "gpio", "metrics")]
    for one in lists:
        for other in lists:
            assert {name: other.get(name, version) for name, version in one.items()} == one


def test_what_builds_is_there_without_sources() -> None:
    """Libraries that come as sources are built by a setuptools of the list, and by nothing fetched beside it."""
    assert "setuptools" in locked("build")
    assert "tomlkit" in locked("settings")
    for script in ("systemd/install", "packaging/deb"):
        text = (PROJECT / script).read_text("utf-8")
        calls = [
            line
            for line in text.replace("\\\n", " ").splitlines()
            if re.search(r"quietly .*\bpip|pip_with_cache download", line)
        ]
        assert calls
        for line in calls:
            assert "--require-hashes" in line or "--no-index" in line, line
