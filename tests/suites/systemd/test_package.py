"""The Debian package: built here, then installed, upgraded, removed and purged on a machine of its own."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from container import Container
from packaged import (
    CONFIG,
    PREFIX,
    SERVICES,
    START_SECONDS,
    STATE,
    TARGET,
    Change,
    Machine,
    Package,
    change,
)
from speech import speech, write_wav

pytest_plugins = ["stage"]

VOICE = "/srv/voice.wav"
OWN = f"/etc/systemd/system/{SERVICES[0]}.d/own.conf"
OWN_SETTINGS = '[log]\nlevel = "debug"\n'
TOKEN = "dtok_0123456789abcdef0123456789abcdef"  # opens nothing

NewContainer = Callable[..., Container]


@pytest.fixture(scope="module")
def machine(new_container: NewContainer, package: Package) -> Machine:
    """A minimal Debian that has nothing of ours, and reaches no recordings API."""
    container = new_container("package")
    container.write("/etc/hosts", "127.0.0.1 localhost api.bota.dev\n")
    machine = Machine(container.boot(), package)
    machine.apt("update")
    return machine


@pytest.fixture(scope="module")
def refusal(machine: Machine) -> str:
    """What is said where the recorder of systemd/install is there already."""
    machine.container.shell("mkdir -p /opt/recorder-agent")
    try:
        return machine.install(machine.package.first, check=False)
    finally:
        machine.container.shell("rmdir /opt/recorder-agent")


@pytest.fixture(scope="module")
def installed(machine: Machine, refusal: str) -> Machine:  # noqa: ARG001 - refused before, as its message asks
    """The machine after apt has installed the package: other people's Python has warned of nothing meanwhile."""
    said = machine.install(machine.package.first)
    assert "SyntaxWarning" not in said, said
    return machine


@pytest.fixture(scope="module")
def recording(installed: Machine, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The machine once its owner has set what it records, and a token."""
    voice = write_wav(tmp_path_factory.mktemp("voice") / "voice.wav", 16000, 1, speech(16000, 1, 160_000))
    installed.container.put(voice, VOICE)
    edits = (f's|^#input = .*|input = "file:{VOICE}?loop"|', "s|^#segment_seconds = .*|segment_seconds = 2|")
    installed.container.run("sed", "--in-place", *(f"--expression={edit}" for edit in edits), CONFIG)
    installed.container.shell(f"chmod 0644 {VOICE} && systemctl restart recorder-agent.target")
    installed.container.run("recorder-agent", "token", "set", input=TOKEN)
    installed.reaches("recording")
    return installed


@pytest.fixture(scope="module")
def gone_back(recording: Machine) -> Change:
    """The machine after it went back to the version of one service, with recordings in its queue."""
    recording.container.wait_for(lambda: len(recording.queue()) > 1, START_SECONDS, "finished recording")
    return change(recording, lambda: recording.install(recording.package.older))


@pytest.fixture(scope="module")
def upgraded(gone_back: Change) -> Change:
    """The machine after the upgrade to two services, with recordings in its queue and a change of its owner."""
    machine = gone_back.machine
    machine.reaches("recording")
    machine.container.write("/root/token", TOKEN, 0o600)
    machine.container.write(OWN, "[Service]\nLoadCredential=device-token:/root/token\nNice=-3\n")
    return change(machine, lambda: machine.install(machine.package.first))


@pytest.fixture(scope="module")
def removed(upgraded: Change) -> Change:
    """The machine after the package was removed."""
    machine = upgraded.machine
    machine.reaches("recording")
    return change(machine, lambda: machine.apt("remove", "recorder-agent"))


@pytest.fixture(scope="module")
def purged(removed: Change) -> Change:
    """The machine after the package was purged, with recordings that were never delivered."""
    machine = removed.machine
    return change(machine, lambda: machine.apt("purge", "recorder-agent"))


@pytest.fixture(scope="module")
def returned(purged: Change) -> Machine:
    """The machine after the package came to settings that were there already, as systemd/uninstall leaves them."""
    machine = purged.machine
    machine.container.write(CONFIG, OWN_SETTINGS)
    machine.install(machine.package.first)
    return machine


@pytest.fixture(scope="module")
def emptied(returned: Machine) -> Machine:
    """The machine after all recordings were deleted, and the package was purged again."""
    returned.reaches("no_microphone")
    returned.container.run("recorder-agent", "queue", "delete", *returned.queue())
    returned.apt("purge", "recorder-agent")
    return returned


def test_beside_the_installers_recorder_it_is_refused(refusal: str) -> None:
    """Where systemd/install has put a recorder, the package says so in one sentence and does not get in."""
    (sentence,) = [line for line in refusal.splitlines() if line.startswith("recorder-agent: ")]
    assert "systemd/uninstall" in sentence


def test_installed_it_runs_and_waits_for_a_microphone(installed: Machine) -> None:
    """After the installation alone the service is enabled, active, and says that there is no microphone."""
    installed.reaches("no_microphone")
    for name in (*SERVICES, TARGET):
        unit = installed.unit(name)
        assert (unit["ActiveState"], unit["UnitFileState"]) == ("active", "enabled")
        assert unit.get("NRestarts", "0") == "0"
        assert unit["FragmentPath"].startswith(("/lib/systemd/system/", "/usr/lib/systemd/system/"))
    groups = installed.container.shell("id --name --groups recorder-agent").split()
    assert groups == ["recorder-agent", "audio"]
    rights = installed.container.shell(f"stat --format '%a %U %G' {STATE}").split()
    assert rights == ["700", "recorder-agent", "recorder-agent"]
    for judge in ("dpkg --verify recorder-agent", f"systemd-analyze verify {' '.join((*SERVICES, TARGET))}"):
        verdict = installed.container.run(*judge.split())
        assert verdict.stdout + verdict.stderr == ""


def test_no_start_compiles_anew(installed: Machine) -> None:
    """Bytecode of all libraries is there after the installation: the service could not write it."""
    site_packages = next(installed.container.path(f"{PREFIX}/lib").glob("python3.*/site-packages"))
    sources = set(site_packages.rglob("*.py"))
    compiled = {path.parent.parent / f"{path.name.split('.')[0]}.py" for path in site_packages.rglob("*.pyc")}
    assert sources == compiled


def test_it_records_once_it_is_told_what(recording: Machine) -> None:
    """With an input in its settings and after a restart the service records, and a segment is finished."""
    recording.container.wait_for(lambda: len(recording.queue()) > 1, START_SECONDS, "finished recording")
    assert recording.answer("status")["credential"]["state"] != "missing"


def kept(change: Change) -> None:
    """Look whether another process records, with the same settings and token, and all that was queued."""
    machine = change.machine
    machine.reaches("recording")
    unit = machine.unit()
    assert unit["ActiveState"] == "active"
    assert unit["MainPID"] not in {"0", change.process}
    assert machine.container.path(CONFIG).read_text("utf-8") == change.config
    assert machine.container.path(f"{STATE}/device-token").read_bytes() == change.token
    assert change.audio
    assert change.audio <= machine.audio()
    assert {Path(name).stem for name in change.audio} <= {
        Path(row["path"]).stem for row in machine.queue().values()
    }


def test_going_back_to_one_service_loses_nothing(gone_back: Change) -> None:
    """The older version finds settings, token and queue; its one service is enabled, and nothing is left of two."""
    machine = gone_back.machine
    kept(gone_back)
    assert machine.container.run("dpkg-query", "--show", "recorder-agent").stdout.strip().endswith("-1")
    machine.container.wait_for(
        lambda: machine.unit(TARGET)["LoadState"] == "not-found", START_SECONDS, "reload of the units"
    )
    # Asked of the files: what systemd has in memory is from before its next reload.
    assert machine.container.run("systemctl", "is-enabled", SERVICES[0]).stdout.strip() == "enabled"
    assert machine.unit(SERVICES[1])["ActiveState"] == "inactive"
    left = machine.container.shell(
        "find /etc/systemd /var/lib/systemd/deb-systemd-helper-enabled /usr/lib/recorder-agent"
        " -name '*recorder-agent*target*' -o -name '*recorder-agent-delivery*' -o -name going-back -o -name '*older*'"
    )
    assert left == ""


def test_an_upgrade_keeps_settings_token_and_queue(upgraded: Change) -> None:
    """Both services run after it, the link of the one is gone, and the owner's change is where it belongs."""
    machine = upgraded.machine
    kept(upgraded)
    for unit in (*SERVICES, TARGET):
        facts = machine.unit(unit)
        assert (facts["ActiveState"], facts["UnitFileState"]) == ("active", "enabled")
    wanted = machine.container.path("/etc/systemd/system/multi-user.target.wants")
    assert {path.name for path in wanted.glob("recorder-agent*")} == {
        TARGET,
        "recorder-agent-provision.service",
    }
    assert machine.container.path(OWN).read_text("utf-8") == "[Service]\nNice=-3\n"
    assert "LoadCredential" in machine.container.path(OWN.replace(*SERVICES)).read_text("utf-8")
    assert OWN in upgraded.said
    machine.container.path(OWN).unlink()
    machine.container.path(OWN.replace(*SERVICES)).unlink()


def test_removed_it_leaves_what_is_the_owners(removed: Change) -> None:
    """After a removal nothing runs and no program is left; recordings, token and settings are."""
    machine = removed.machine
    assert {machine.unit(unit)["ActiveState"] for unit in (*SERVICES, TARGET)} == {"inactive"}
    assert not machine.container.path(PREFIX).exists()
    assert not os.path.lexists(machine.container.path("/usr/bin/recorder-agent"))
    assert removed.audio <= machine.audio()
    assert machine.container.path(CONFIG).read_text("utf-8") == removed.config
    assert machine.container.path(f"{STATE}/device-token").read_bytes() == removed.token


def test_what_cannot_be_counted_is_not_deleted(removed: Change) -> None:
    """A purge that cannot look through the recordings keeps them and says so; an error is no zero."""
    machine = removed.machine
    machine.container.write("/root/failing/find", "#!/bin/sh\nexit 1\n", 0o755)
    script = "/var/lib/dpkg/info/recorder-agent.postrm"
    path = {
        "PATH": "/root/failing:/usr/sbin:/usr/bin:/sbin:/bin",
        "DPKG_MAINTSCRIPT_PACKAGE": "recorder-agent",
    }
    text = machine.container.path(script).read_text("utf-8").split("# Automatically added")[0]
    machine.container.write("/root/postrm", text, 0o755)  # what is ours of it
    said = machine.container.run("/root/postrm", "purge", env=path)
    assert "cannot be told" in said.stderr
    assert removed.audio <= machine.audio()


def test_a_purge_keeps_what_was_never_delivered(purged: Change) -> None:
    """A purge takes the settings, keeps recordings that no API has, and says so in one sentence."""
    machine = purged.machine
    assert not machine.container.path(CONFIG).parent.exists()
    assert purged.audio
    assert machine.audio() == purged.audio
    (sentence,) = [line for line in purged.said.splitlines() if line.startswith("recorder-agent: ")]
    assert f"{STATE} is kept" in sentence
    assert f"({len(purged.audio)})" in sentence


def test_settings_that_are_there_already_stay(returned: Machine) -> None:
    """The package asks nothing where there are settings without a package: they are the owner's, and in use."""
    assert returned.container.path(CONFIG).read_text("utf-8") == OWN_SETTINGS
    assert [file.name for file in returned.container.path(CONFIG).parent.iterdir()] == ["config.toml"]
    returned.reaches("no_microphone")


def test_a_purge_leaves_nothing_when_nothing_waits(emptied: Machine) -> None:
    """Without undelivered recordings state, settings, program and service are all gone."""
    container = emptied.container
    for path in (STATE, "/etc/recorder-agent", PREFIX, "/run/recorder-agent"):
        assert not container.path(path).exists()
    assert emptied.unit()["LoadState"] == "not-found"
    left = container.shell(
        "find /etc /usr /var/lib -name '*recorder-agent*' -not -path '/var/lib/dpkg/*'"
    ).split()
    assert left == []
