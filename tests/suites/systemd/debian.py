"""What containers stand on: a minimal Debian of the host's release, made by mmdebstrap once and kept."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import registries

HOME = Path("/var/tmp/recorder-agent-tests")  # noqa: S108 - overlays need a real file system, and the tree is large
PACKAGES = ("systemd", "systemd-sysv", "dbus", "udev", "ca-certificates", "procps", "python3")
"""What any Debian has that is not a container."""
BUILD_SECONDS = 300


def base_tree(release: str = "", packages: Sequence[str] = PACKAGES) -> Path:
    """Return the root of a minimal Debian (of the host's release); it is built when there is none yet."""
    release = release or _release()
    options = registries.apt_options()
    digest = sha256("\0".join((release, options, *packages)).encode()).hexdigest()[:12]
    tree = HOME / f"base-{release}-{digest}"
    HOME.mkdir(parents=True, exist_ok=True)
    _sweep()
    if tree.is_dir():
        return tree
    building = HOME / f"building-{os.getpid()}-{release}"
    settings = HOME / f"apt-{os.getpid()}-{release}.conf"
    settings.write_text(options, "utf-8")
    try:
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}",
             f"--aptopt={settings}", release, str(building)],
            check=True, timeout=BUILD_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        (building / "var/log/journal").mkdir(parents=True, exist_ok=True)  # the journal outlives a reboot
        building.rename(tree)
    finally:
        settings.unlink()
        shutil.rmtree(building, ignore_errors=True)
    return tree


def _sweep() -> None:
    """Remove what test processes have left that were killed."""
    for folder in HOME.glob("ra-*"):
        if not Path("/proc", folder.name.split("-")[1]).exists():
            subprocess.run(["umount", "--lazy", str(folder / "root")], check=False, capture_output=True)
            shutil.rmtree(folder, ignore_errors=True)


def _release() -> str:
    lines = Path("/etc/os-release").read_text("utf-8").splitlines()
    names = [line.partition("=")[2].strip('"') for line in lines if line.startswith("VERSION_CODENAME=")]
    if not names:
        raise RuntimeError("the containers are made of the host's release of Debian, and this host is none")
    return names[0]
