"""The Debian package: built here, then installed, upgraded, removed and purged on a machine of its own."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from container import Container
from packaged import (
    CONFIG,
    PROJECT,
    START_SECONDS,
    STATE,
    Change,
    Machine,
    Package,
    build_package,
    change,
    dpkg,
)
from speech import speech, write_wav

pytest_plugins = ["stage"]

PREFIX = "/usr/lib/recorder-agent"
VOICE = "/srv/voice.wav"
OWN_SETTINGS = '[log]\nlevel = "debug"\n'
TOKEN = "dtok_0123456789abcdef0123456789abcdef"  # opens nothing

NewContainer = Callable[..., Container]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The package, built and judged, and one of a higher revision of the same files."""
    return build_package(tmp_path_factory.mktemp("package"))


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
    """The machine after apt has installed the package."""
    machine.install(machine.package.first)
    return machine


@pytest.fixture(scope="module")
def recording(installed: Machine, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The machine once its owner has set what it records, and a token."""
    voice = write_wav(tmp_path_factory.mktemp("voice") / "voice.wav", 16000, 1, speech(16000, 1, 160_000))
    installed.container.put(voice, VOICE)
    edits = (f's|^#input = .*|input = "file:{VOICE}?loop"|', "s|^#segment_seconds = .*|segment_seconds = 2|")
    installed.container.run("sed", "--in-place", *(f"--expression={edit}" for edit in edits), CONFIG)
    installed.container.shell(f"chmod 0644 {VOICE} && systemctl restart recorder-agent")
    installed.container.run("recorder-agent", "token", "set", input=TOKEN)
    installed.reaches("recording")
    return installed


@pytest.fixture(scope="module")
def upgraded(recording: Machine) -> Change:
    """The machine after an upgrade with recordings in its queue."""
    recording.container.wait_for(lambda: len(recording.queue()) > 1, START_SECONDS, "finished recording")
    return change(recording, lambda: recording.install(recording.package.second))


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


def test_lintian_finds_no_error(package: Package) -> None:
    """Lintian has neither errors nor warnings; what is overridden has its reason beside it."""
    print(f"built in {package.seconds:.0f} s, {package.first.stat().st_size} bytes\n{package.said}")
    assert not re.findall(r"^[EW]: .*", package.said, re.MULTILINE)


def test_it_depends_on_what_the_list_of_packages_says(package: Package) -> None:
    """All of [runtime] is a dependency, and so is exactly the minor version of Python that its wheels are for."""
    depends = dpkg("--field", str(package.first), "Depends").replace("\n", "").split(", ")
    names = {each.split()[0] for each in depends}
    assert {"libasound2-plugins", "libopus0", "libportaudio2", "ca-certificates", "tzdata"} <= names
    (minor,) = {
        int(path.parent.name.removeprefix("python3."))
        for path in package.tree.glob("usr/lib/*/lib/python3.*/*")
    }
    assert {f"python3 (>= 3.{minor}~)", f"python3 (<< 3.{minor + 1})"} <= set(depends)


def test_nothing_in_it_names_the_machine_it_was_built_on(package: Package) -> None:
    """No file holds a path of the build or of a home, and no library looks for others in a folder of its own."""
    traces = [str(PROJECT).encode(), b"build/deb", b"/tmp/pip", f"{Path.home()}/".encode()]
    for file in (path for path in package.tree.rglob("*") if path.is_file() and not path.is_symlink()):
        if "DEBIAN" not in file.parts and "doc" not in file.parts:
            assert not [trace for trace in traces if trace in file.read_bytes()], file
    for library in package.tree.rglob("*.so"):
        sections = subprocess.run(
            ["readelf", "--dynamic", library], capture_output=True, check=True, timeout=60
        )
        assert b"RUNPATH" not in sections.stdout


def test_it_carries_nothing_a_device_does_not_need(package: Package) -> None:
    """No installer, no tests of libraries, no bytecode, no commands but ours, and the manual knows each of ours."""
    names = {path.name for path in package.tree.rglob("*")}
    assert not names & {
        "pip",
        "setuptools",
        "pkg_resources",
        "tests",
        "test",
        "__pycache__",
        "RECORD",
        "direct_url.json",
    }
    assert {path.name for path in (package.tree / "usr/bin").iterdir()} == {"recorder-agent"}
    assert {path.name for path in (package.tree / PREFIX.lstrip("/") / "bin").iterdir()} == {
        "recorder-agent",
        "python3",
    }
    manual = subprocess.run(
        ["zcat", package.tree / "usr/share/man/man1/recorder-agent.1.gz"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for command in ("run", "record", "sync", "queue", "token", "doctor"):
        assert f".B {command}\n" in manual


def test_the_unit_is_the_one_of_the_installer(package: Package) -> None:
    """Service and rule for lights are those of systemd/, with the paths of the package alone."""
    (unit,) = package.tree.rglob("recorder-agent.service")
    ours = (PROJECT / "systemd" / "recorder-agent.service").read_text("utf-8").splitlines()
    theirs = unit.read_text("utf-8").splitlines()
    assert len(theirs) == len(ours)
    for line, original in zip(theirs, ours, strict=True):
        assert line == original or "/opt/recorder-agent" in original or "gpio.conf" in original
    assert f"ExecStart={PREFIX}/bin/recorder-agent run" in theirs
    assert "/opt/" not in unit.read_text("utf-8")
    (rule,) = package.tree.rglob("60-recorder-agent.rules")
    assert rule.read_bytes() == (PROJECT / "systemd" / "60-recorder-agent.rules").read_bytes()


def test_beside_the_installers_recorder_it_is_refused(refusal: str) -> None:
    """Where systemd/install has put a recorder, the package says so in one sentence and does not get in."""
    (sentence,) = [line for line in refusal.splitlines() if line.startswith("recorder-agent: ")]
    assert "systemd/uninstall" in sentence


def test_installed_it_runs_and_waits_for_a_microphone(installed: Machine) -> None:
    """After the installation alone the service is enabled, active, and says that there is no microphone."""
    installed.reaches("no_microphone")
    unit = installed.unit()
    assert (unit["ActiveState"], unit["UnitFileState"], unit["NRestarts"]) == ("active", "enabled", "0")
    assert unit["FragmentPath"].startswith(("/lib/systemd/system/", "/usr/lib/systemd/system/"))
    groups = installed.container.shell("id --name --groups recorder-agent").split()
    assert groups == ["recorder-agent", "audio"]
    rights = installed.container.shell(f"stat --format '%a %U %G' {STATE}").split()
    assert rights == ["700", "recorder-agent", "recorder-agent"]
    for judge in ("dpkg --verify recorder-agent", "systemd-analyze verify recorder-agent.service"):
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


def test_an_upgrade_keeps_settings_token_and_queue(upgraded: Change) -> None:
    """After an upgrade another process records, with the same settings and token, and all that was queued."""
    machine = upgraded.machine
    machine.reaches("recording")
    assert machine.container.run("dpkg-query", "--show", "recorder-agent").stdout.strip().endswith("-2")
    unit = machine.unit()
    assert unit["ActiveState"] == "active"
    assert unit["MainPID"] not in {"0", upgraded.process}
    assert machine.container.path(CONFIG).read_text("utf-8") == upgraded.config
    assert machine.container.path(f"{STATE}/device-token").read_bytes() == upgraded.token
    assert upgraded.audio
    assert upgraded.audio <= machine.audio()
    assert {Path(name).stem for name in upgraded.audio} <= {
        Path(row["path"]).stem for row in machine.queue().values()
    }


def test_removed_it_leaves_what_is_the_owners(removed: Change) -> None:
    """After a removal nothing runs and no program is left; recordings, token and settings are."""
    machine = removed.machine
    assert machine.unit()["ActiveState"] == "inactive"
    assert not machine.container.path(PREFIX).exists()
    assert not os.path.lexists(machine.container.path("/usr/bin/recorder-agent"))
    assert removed.audio <= machine.audio()
    assert machine.container.path(CONFIG).read_text("utf-8") == removed.config
    assert machine.container.path(f"{STATE}/device-token").read_bytes() == removed.token


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
