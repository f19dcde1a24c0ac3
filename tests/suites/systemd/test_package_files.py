"""The Debian package: what is in it."""

import re
import subprocess
from pathlib import Path

from packaged import PREFIX, PROJECT, SERVICES, TARGET, Package, dpkg

pytest_plugins = ["stage"]

OTHERS = ("recorder-agent-provision.service", "recorder-agent-web.service", "recorder-agent-web.socket")


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
    """No file holds a path of the build or of a home, and a library looks for others only beside itself."""
    traces = [str(PROJECT).encode(), b"build/deb", b"/tmp/pip", f"{Path.home()}/".encode()]
    for file in (path for path in package.tree.rglob("*") if path.is_file() and not path.is_symlink()):
        if "DEBIAN" not in file.parts and "doc" not in file.parts:
            assert not [trace for trace in traces if trace in file.read_bytes()], file
    for library in package.tree.rglob("*.so"):
        sections = subprocess.run(
            ["readelf", "--dynamic", library], capture_output=True, check=True, timeout=60
        )
        paths = re.findall(rb"(?:RUNPATH|RPATH)\).*\[(.*)\]", sections.stdout)
        assert all(each.startswith(b"$ORIGIN") for path in paths for each in path.split(b":")), library


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
    """Services, target and rules are those of systemd/, with the paths of the package alone."""
    others = ((name, "") for name in (TARGET, *OTHERS))
    for name, process in ((SERVICES[0], "recorder"), (SERVICES[1], "deliverer"), *others):
        (unit,) = package.tree.rglob(name)
        ours = (PROJECT / "systemd" / name).read_text("utf-8").splitlines()
        theirs = unit.read_text("utf-8").splitlines()
        assert len(theirs) == len(ours)
        for line, original in zip(theirs, ours, strict=True):
            assert line == original or "/opt/recorder-agent" in original or "gpio.conf" in original
        assert not process or f"ExecStart={PREFIX}/bin/recorder-agent run --only {process}" in theirs
        assert "/opt/" not in unit.read_text("utf-8")
    (rule,) = package.tree.rglob("60-recorder-agent.rules")
    assert rule.read_bytes() == (PROJECT / "systemd" / "60-recorder-agent.rules").read_bytes()
