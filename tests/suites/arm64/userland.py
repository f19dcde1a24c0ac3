"""A Debian of arm64 on this machine: every program in it is emulated, the kernel and its network are the host's.

``tests/suites/arm64/run`` gives the process mounts of its own, so that none outlives it.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import registries

PROJECT = Path(__file__).parents[3]
HOME = PROJECT / "build" / "arm64"
"""What is kept from run to run: the minimal Debian, and the one that builds with its caches."""
PACKAGES = "ca-certificates"
SLOW_SECONDS = 3000
"""The emulator takes ten times as long as the machine itself."""
SOURCES = (
    "agent",
    "config",
    "packaging",
    "systemd",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
)
"""What the package is built from."""
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}


class Userland:
    """An overlay on a tree, mounted while it is used as a context manager; it is gone afterwards unless it is kept."""

    def __init__(self, name: str, base: Path, *, kept: bool = False) -> None:
        self._folder = HOME / name
        self._base = base
        self._kept = kept
        self.root = self._folder / "root"

    def __enter__(self) -> Self:
        """Mount it."""
        self._leave()
        parts = {part: self._folder / part for part in ("root", "upper", "work")}
        for part in parts.values():
            part.mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir={self._base},upperdir={parts['upper']},workdir={parts['work']}"
        _call("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        _call("mount", "-t", "proc", "proc", str(self.root / "proc"))
        for file in ("/etc/resolv.conf", "/etc/hosts"):
            shutil.copy(file, self.path(file))
        self.write("/etc/apt/apt.conf.d/99host", registries.apt_options())
        self.write("/etc/pip.conf", registries.pip_file())
        for path in registries.pip_paths():
            self.bind(path)
        return self

    def __exit__(self, *_: object) -> None:
        """Unmount it, and remove it unless it is kept."""
        self._leave()

    def _leave(self) -> None:
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
        for mount in reversed(mounts):
            if mount == str(self.root) or mount.startswith(f"{self.root}/"):
                subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
        with suppress(FileNotFoundError):
            shutil.rmtree(self._folder / "work" if self._kept else self._folder)

    def path(self, inside: str | Path) -> Path:
        """Return where an absolute path inside lies on the host."""
        return self.root / str(inside).lstrip("/")

    def write(self, target: str, text: str) -> None:
        """Write a file inside."""
        self.path(target).parent.mkdir(parents=True, exist_ok=True)
        self.path(target).write_text(text, "utf-8")

    def put(self, source: Path, target: str) -> None:
        """Copy a file or folder of the host to a path inside."""
        if source.is_dir():
            shutil.copytree(source, self.path(target), ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, self.path(target))

    def bind(self, path: Path) -> None:
        """Show a file or folder of the host inside, at the same place: a file instead of what is there."""
        target = self.path(path)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        _call("mount", "--bind", str(path), str(target))

    def run(
        self,
        *command: str,
        cwd: str = "/root",
        timeout: float = SLOW_SECONDS,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command inside as root and return what it printed; AssertionError unless it ended with 0."""
        words = [
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            "chroot",
            str(self.root),
            "/usr/bin/env",
            "--chdir",
            cwd,
        ]
        done = subprocess.run(
            ["nice", *words, *command], check=False, timeout=timeout, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            env=_ENVIRONMENT | dict(env or {}),
        )  # fmt: skip
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout[-6000:]}"
        return done.stdout

    def apt(self, *arguments: str) -> str:
        """Run apt-get inside, with fresh lists."""
        self.run("apt-get", "--quiet", "update")
        return self.run("apt-get", "--quiet", *arguments)


def base_tree() -> Path:
    """Return a minimal Debian of arm64, of the host's release; it is made when there is none yet."""
    tree = HOME / f"base-{_release()}"
    if tree.is_dir():
        return tree
    HOME.mkdir(parents=True, exist_ok=True)
    building, settings = HOME / "building", HOME / "apt.conf"
    shutil.rmtree(building, ignore_errors=True)
    settings.write_text(registries.apt_options(), "utf-8")
    started = time.monotonic()
    _call(
        "nice", "mmdebstrap", "--quiet", "--arch=arm64", "--variant=minbase", f"--include={PACKAGES}",
        f"--aptopt={settings}", _release(), str(building),
    )  # fmt: skip
    building.rename(tree)
    print(f"\nminimal Debian of arm64: {time.monotonic() - started:.0f} s")
    return tree


def build_package() -> Path:
    """Build the package by packaging/deb in a userland of its own, and return it, on the host."""
    with Userland("builder", base_tree(), kept=True) as builder:
        for name in SOURCES:
            target = builder.path(f"/root/project/{name}")
            if target.is_dir():
                shutil.rmtree(target)
            target.parent.mkdir(exist_ok=True)
            builder.put(PROJECT / name, f"/root/project/{name}")
        started = time.monotonic()
        print(builder.run("packaging/deb", cwd="/root/project"), end="")
        print(f"building the package, its tools included: {time.monotonic() - started:.0f} s")
        packages = builder.path("/root/project/dist").glob("*_arm64.deb")
        package = max(packages, key=lambda path: path.stat().st_mtime)
        return Path(shutil.copy2(package, HOME))


def _call(*command: str) -> None:
    subprocess.run(command, check=True, timeout=SLOW_SECONDS, stdin=subprocess.DEVNULL, env=os.environ)


def _release() -> str:
    lines = Path("/etc/os-release").read_text("utf-8").splitlines()
    return next(line.partition("=")[2].strip('"') for line in lines if line.startswith("VERSION_CODENAME="))
