"""The installer over another version: from one service to two, back, and over versions that do not start."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from installed import INSTALL_SECONDS
from machine import (
    CONFIG,
    DELIVERY,
    SOURCE,
    TARGET,
    TOKEN,
    UNIT,
    UNITS,
    Recorder,
    bring_older,
    bring_sources,
)

pytest_plugins = ["stage"]

NewRecorder = Callable[[str], Recorder]
OWN = f"{UNITS}/{UNIT}.d/own.conf"
OWN_LINES = ["Nice=-4", "LoadCredential=device-token:/root/token", "ReadWritePaths=/run/node"]


def install(recorder: Recorder, *options: str) -> str:
    """Install what lies in the sources, which must succeed, and return what was said."""
    command = (f"{SOURCE}/systemd/install", "--unattended", *options)
    said = recorder.container.run(*command, timeout=INSTALL_SECONDS)
    print(f"\n{said.stdout}{said.stderr}")
    return said.stdout


def lines_of(recorder: Recorder, drop_in: str) -> list[str]:
    """Return the directives of a drop-in; none where there is none."""
    file = recorder.container.path(drop_in)
    text = file.read_text("utf-8").splitlines() if file.exists() else []
    return [line for line in text if "=" in line and not line.startswith("#")]


@pytest.fixture(scope="module")
def queued(new_recorder: NewRecorder) -> Recorder:
    """A machine with two services and a queue, the API out of reach, and the sources of the older version."""
    recorder = new_recorder("upgrade")
    recorder.sandbox.stop()
    recorder.systemctl("start")
    recorder.wait_sound(20)
    recorder.container.wait_for(lambda: len(recorder.finished()) >= 2, 20, "queue")
    recorder.container.shell("install -d -o recorder-agent -g recorder-agent /run/node")
    recorder.configure(metrics='file = "/run/node/agent.prom"')  # the installer brings what it needs
    bring_older(recorder.container)
    return recorder


@pytest.fixture(scope="module")
def single(queued: Recorder) -> tuple[Recorder, set[str]]:
    """The machine once the version of one service runs there, and what waited before."""
    waiting = queued.finished()
    install(queued)
    queued.wait_sound(20)
    return queued, waiting


def test_going_back_to_one_service_loses_nothing(single: tuple[Recorder, set[str]]) -> None:
    """Recordings, token and bindings are there; one service does all, and of the other nothing is left."""
    recorder, waiting = single
    container = recorder.container
    container.wait_for(
        lambda: container.show(TARGET, "LoadState")["LoadState"] == "not-found", 20, "reload of the units"
    )
    assert container.show(DELIVERY, "LoadState", "ActiveState") == {
        "LoadState": "not-found",
        "ActiveState": "inactive",
    }
    assert container.run("systemctl", "is-enabled", UNIT).stdout.strip() == "enabled"
    left = container.shell(f"ls -R {UNITS} | grep -e delivery -e target.wants/ -e older || true").split()
    assert [name for name in left if "recorder-agent" in name] == []
    rows = recorder.queue()
    assert waiting <= set(rows)
    assert {rows[each]["status"] for each in waiting} == {"ready"}
    assert recorder.answer("token", "status")["state"] != "missing"


def test_a_version_of_two_services_that_does_not_start_is_taken_back(
    single: tuple[Recorder, set[str]],
) -> None:
    """The one service goes on recording with its owner's changes, and nothing of two is left."""
    recorder, _ = single
    container = recorder.container
    container.write("/root/token", container.path(TOKEN).read_text("ascii"), 0o600)
    container.write(OWN, "\n".join(["[Service]", *OWN_LINES, ""]))
    break_sources(recorder)
    said = container.run(f"{SOURCE}/systemd/install", "--unattended", timeout=INSTALL_SECONDS, check=False)
    print(f"\n{said.stdout}{said.stderr}")
    assert said.returncode == 1
    assert "The version before is in use again." in said.stderr.splitlines()[-1]
    recorder.wait_state("recording")
    assert sorted(lines_of(recorder, OWN)) == sorted(OWN_LINES)
    assert container.show(DELIVERY, "LoadState")["LoadState"] == "not-found"
    assert container.run("systemctl", "is-enabled", UNIT).stdout.strip() == "enabled"


@pytest.fixture(scope="module")
def upgraded(single: tuple[Recorder, set[str]]) -> Recorder:
    """The machine while it records with the version of one service, ready for the upgrade."""
    recorder, _ = single
    bring_sources(recorder.container)
    return recorder


def test_upgrade_over_an_older_version_with_a_queue(upgraded: Recorder) -> None:
    """The same command upgrades: settings, token and queue stay, and what waited is delivered once.

    Changes of the owner are with the service that they concern, and the link of the one service is gone.
    """
    container = upgraded.container
    settings = container.path(CONFIG).read_text("utf-8")
    token = container.path(TOKEN).read_text("ascii")
    waiting = upgraded.finished()
    began = time.time()
    said = install(upgraded)
    assert container.path(CONFIG).read_text("utf-8") == settings
    assert container.path(TOKEN).read_text("ascii") == token
    assert waiting <= set(upgraded.queue())
    versions = container.run("ls", "/opt/recorder-agent/versions").stdout.split()
    assert len(versions) == 1
    assert lines_of(upgraded, OWN) == ["Nice=-4"]
    assert lines_of(upgraded, OWN.replace(UNIT, DELIVERY)) == OWN_LINES[1:]
    assert OWN in said
    wanted = container.path(f"{UNITS}/multi-user.target.wants")
    assert {path.name for path in wanted.glob("recorder-agent*")} == {
        TARGET,
        "recorder-agent-provision.service",
    }
    assert all(upgraded.unit(unit)["ActiveState"] == "active" for unit in (UNIT, DELIVERY, TARGET))
    upgraded.sandbox.start()
    seconds = upgraded.wait_delivered(waiting, 90)
    since = datetime.fromtimestamp(began, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    silent = max((gap["seconds"] or 0 for gap in upgraded.answer("gaps") if gap["from"] >= since), default=0)
    print(f"{len(waiting)} that waited were delivered within {seconds:.1f} s; longest gap {silent:.1f} s")
    assert {upgraded.copies()[each] for each in waiting} == {1}
    assert time.time() - began < INSTALL_SECONDS
    assert silent < 15


def break_sources(recorder: Recorder) -> None:
    """Put a version into the sources that does not start."""
    recorder.container.run("rm", "-rf", SOURCE)
    bring_sources(recorder.container, version="0.0.10")
    run = recorder.container.path(f"{SOURCE}/agent/cli/run.py")
    text = run.read_text("utf-8")
    broken = text.replace('    """Record and', '    raise SystemExit("broken")\n    """Record and', 1)
    assert broken != text
    run.write_text(broken, "utf-8")


def test_a_version_that_does_not_start_is_taken_back(upgraded: Recorder) -> None:
    """The one before goes on recording and delivering, and the installer says why in its last line."""
    container = upgraded.container
    before = container.path("/opt/recorder-agent/current").readlink()
    break_sources(upgraded)
    said = container.run(f"{SOURCE}/systemd/install", "--unattended", timeout=INSTALL_SECONDS, check=False)
    print(f"\n{said.stdout}{said.stderr}")
    assert said.returncode == 1
    assert "The version before is in use again." in said.stderr.splitlines()[-1]
    assert container.path("/opt/recorder-agent/current").readlink() == before
    assert container.run("ls", "/opt/recorder-agent/versions").stdout.split() == [before.name]
    upgraded.wait_state("recording")
    assert upgraded.unit(DELIVERY)["ActiveState"] == "active"
    bring_sources(container)
