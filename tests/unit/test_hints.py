"""What a person is told to type: by the kind of installation, and never into the system's own Python."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import hints
from agent.hints import extra as brought_by


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Forget what was found out about this machine, before and after."""
    for _ in range(2):
        hints.is_service_here.cache_clear()
        hints._root.cache_clear()
        if _ == 0:
            yield


@pytest.fixture(params=["service", "by hand"])
def service(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A machine with a service and sudo, or one without a service."""
    folder = tmp_path / "state"
    if request.param == "service":
        folder.mkdir()
    monkeypatch.setattr(hints, "SERVICE_STATE", folder)
    monkeypatch.setattr("shutil.which", lambda _name: "/usr/bin/sudo")
    return folder.exists()


def test_only_root_becomes_the_account_of_a_service(service: bool) -> None:
    """Beside a service each command has sudo before it; without one it would become somebody else."""
    assert hints.typed("token set") == (
        "`sudo recorder-agent token set`" if service else "`recorder-agent token set`"
    )
    assert hints.start() == (
        "`sudo systemctl start recorder-agent.target`" if service else "`recorder-agent run`"
    )
    assert "systemctl restart recorder-agent.target`" in hints.restart()
    assert hints.restart().startswith("`sudo ") == service
    assert "journalctl -e -u recorder-agent -u recorder-agent-delivery`" in hints.journal()
    assert hints.journal().startswith("`sudo ") == service


def test_where_there_is_no_sudo_none_is_typed(service: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's root has none."""
    monkeypatch.setattr("shutil.which", lambda _name: None)
    assert hints.typed("level") == "`recorder-agent level`"
    assert "sudo" not in hints.restart()
    assert service == hints.is_service_here()


@pytest.mark.parametrize(
    ("prefix", "base", "said"),
    [
        ("/opt/recorder-agent/versions/1", "/usr", "./systemd/install --gpio"),
        ("/usr/lib/recorder-agent", "/usr", "apt-get install --reinstall recorder-agent"),
        ("/home/pi/source/.venv", "/usr", "/home/pi/source/.venv/bin/pip install 'recorder-agent[gpio]'"),
        ("/usr", "/usr", ".venv/bin/pip install '.[gpio]'"),
    ],
)
def test_an_extra_comes_by_what_has_installed_it(
    prefix: str, base: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installer, the package, or the virtual environment; never pip of the system."""
    monkeypatch.setattr(sys, "prefix", prefix)
    monkeypatch.setattr(sys, "base_prefix", base)
    told = brought_by("gpio")
    assert said in told
    assert "`pip " not in told
    assert "sudo pip" not in told


def test_who_may_not_speak_is_told_the_group_and_to_log_in_again(service: bool, tmp_path: Path) -> None:
    """The group of the runtime folder, with the command; where it is root's, or nobody's service, its owner."""
    if os.geteuid() == 0:
        os.chown(tmp_path, -1, 1)  # daemon
    told = hints.reach(tmp_path)
    if service and os.geteuid() == 0:
        assert told == "`sudo usermod -aG daemon $USER`, then log out and in again, or use sudo"
    elif not service:
        assert told == "run this as its owner, or with sudo"
    assert hints.reach(tmp_path / "missing") == "run this as its owner, or with sudo"
