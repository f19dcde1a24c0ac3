"""Images of the machine, kept by what went into them.

``base-<hash>``   the distribution's packages, kernel and initial RAM disk: minutes, once
``agent-<hash>``  the base with the project's .deb and its settings: seconds, whenever its contents change
"""

import hashlib
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import registries

from agent.sandbox.devices import DEFAULT_TOKEN
from vm import kernel
from vm.problem import CannotRunError
from vm.settings import CONFIG_FILE, SETTINGS, toml

PROJECT = Path(__file__).parents[3]
GUEST = Path(__file__).parent / "guest"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recorder-agent-vm"
RELEASE_FILE = Path("/etc/os-release")
PACKAGES = (
    "adduser", "alsa-utils", "busybox-static", "dbus", "dmsetup", "e2fsprogs", "iproute2", "kmod", "opus-tools",
    "procps", "python3", "systemd", "systemd-sysv", "udev",
)  # fmt: skip
"""What the machine has beside what the .deb needs."""
SECTIONS = ("[runtime]", "[deb-runtime]")
"""Of packaging/apt-packages: what the .deb needs."""
LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
IMAGE_BYTES = 2 << 30
BASE_FORMAT = "1"
"""Raised when the base is built otherwise from the same parts."""
KEPT = 3
"""So many images of each kind stay in the cache, those used last."""
BUILD_SECONDS = 1200

LOCAL_UNITS = ("lab.service", "lab-api.socket", "lab-api.service")
UNWANTED_UNITS = (
    "fstrim.timer", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "e2scrub_reap.service", "getty@tty1.service", "systemd-pstore.service",
)  # fmt: skip


@dataclass(frozen=True)
class Image:
    """A bootable disk, and the kernel to boot it with."""

    disk: Path
    vmlinuz: Path
    initrd: Path


def agent_image(
    deb: Path, say: Callable[[str], None], *, without_sync: bool = False, more_packages: tuple[str, ...] = ()
) -> Image:
    """Return an image with the package installed; it is built when there is none of these contents.

    ``without_sync`` takes the fsync and fdatasync of the file layer out of the installed package; ``more_packages`` are
    the distribution's.

    Raises:
        CannotRunError: there is no distribution to build it from.
    """
    base = _base(say, more_packages)
    digest = hashlib.sha256(base.name.encode())
    digest.update(_contents_of_deb(deb))
    digest.update(b"without sync" if without_sync else b"")
    digest.update(toml(SETTINGS).encode())
    digest.update(Path(__file__).read_bytes())
    for file in sorted(GUEST.iterdir()):
        if file.is_file():
            digest.update(file.name.encode() + file.read_bytes())

    def build(folder: Path) -> None:
        disk = folder / "disk"
        subprocess.run(
            ["cp", "--sparse=always", "--reflink=auto", base / "disk", disk], check=True, timeout=300
        )
        with mounted(disk) as root:
            _install_agent(root, deb)
            if without_sync:
                _take_out_sync(root)

    folder = _kept("agent", digest.hexdigest()[:16], "the agent's image", build, say)
    return Image(folder / "disk", base / "vmlinuz", base / "initrd")


@contextmanager
def mounted(disk: Path) -> Iterator[Path]:
    """Mount an image that no machine is using."""
    point = disk.with_suffix(".mnt")
    point.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", disk, point], check=True, timeout=60)
    try:
        yield point
    finally:
        subprocess.run(["umount", point], check=True, timeout=120)
        point.rmdir()


def working_copy(image: Image, folder: Path) -> Image:
    """Return a copy of an image whose disk may be changed."""
    disk = folder / "disk"
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", image.disk, disk], check=True, timeout=300)
    return Image(disk, image.vmlinuz, image.initrd)


def _base(say: Callable[[str], None], more_packages: tuple[str, ...]) -> Path:
    names = [line.partition("=")[2].strip('"') for line in RELEASE_FILE.read_text("utf-8").splitlines()
             if line.startswith("VERSION_CODENAME=")]  # fmt: skip
    if not names:
        raise CannotRunError("the machine is made of the host's release of Debian, and this host is none.")
    packages = sorted({*PACKAGES, *_packages_of_deb(), *more_packages})
    linux = kernel.newest_package()
    parts = (BASE_FORMAT, names[0], linux, *packages, *kernel.MODULES, kernel.MOUNT_ROOT, *UNWANTED_UNITS)
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def build(folder: Path) -> None:
        root = folder / "root"
        settings = folder / "apt.conf"
        settings.write_text(registries.apt_options(), "utf-8")
        excluded = [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
        _run_whole(
            ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}", *excluded,
             f"--aptopt={settings}", "--dpkgopt=force-unsafe-io", names[0], root],
            BUILD_SECONDS,
        )  # fmt: skip
        kernel.install(linux, root, folder)
        _set_up(root)
        with (folder / "disk").open("wb") as disk:
            disk.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-d", root, folder / "disk"], check=True, timeout=300)
        shutil.rmtree(root)

    what = ", ".join((f"the base image of {names[0]}", linux, *more_packages))
    return _kept("base", digest, what, build, say)


def _kept(
    kind: str, digest: str, what: str, build: Callable[[Path], None], say: Callable[[str], None]
) -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = CACHE / f"{kind}-{digest}"
    if folder.is_dir():
        say(f"{what}: kept from an earlier run")
    else:
        _sweep()
        building = CACHE / f"building-{os.getpid()}-{kind}"
        building.mkdir()
        began = time.monotonic()
        try:
            build(building)
            building.rename(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
        say(f"{what}: built in {time.monotonic() - began:.0f} s")
    os.utime(folder)
    for old in sorted(CACHE.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(old)
    return folder


def _sweep() -> None:
    """Remove what builds have left that were killed."""
    for folder in CACHE.glob("building-*"):
        if not Path("/proc", folder.name.split("-")[1]).exists():
            subprocess.run(["umount", folder / "disk.mnt"], check=False, capture_output=True)
            shutil.rmtree(folder, ignore_errors=True)


def _run_whole(command: list[str | Path], seconds: float) -> None:
    """Run a program that starts others; none of them is left when this is interrupted.

    Raises:
        CannotRunError: it fails.
    """
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            code = process.wait(seconds)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if code:
        raise CannotRunError(f"{command[0]} failed with exit code {code}: the lines above say why.")


def _packages_of_deb() -> set[str]:
    found, wanted = set(), False
    for line in (PROJECT / "packaging/apt-packages").read_text("utf-8").splitlines():
        if line.startswith("["):
            wanted = line.strip() in SECTIONS
        elif wanted and line.strip() and not line.startswith("#"):
            found.add(line.strip())
    return found


def _contents_of_deb(deb: Path) -> bytes:
    """Return a digest of what a package installs and runs, whenever it was built."""
    digest = hashlib.sha256()
    for option in ("--fsys-tarfile", "--ctrl-tarfile"):
        with subprocess.Popen(["dpkg-deb", option, deb], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for member in archive:
                    if "/usr/share/doc/" in member.name or member.name.endswith("md5sums"):
                        continue
                    digest.update(f"{member.name} {member.mode} {member.linkname}\0".encode())
                    file = archive.extractfile(member) if member.isfile() else None
                    digest.update(file.read() if file else b"")
    return digest.digest()


def _set_up(root: Path) -> None:
    """Make a bare Debian a machine: a name, its disk, a journal that is kept, no work of its own."""
    (root / "etc/hostname").write_text("vm\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost vm\n")
    (root / "etc/fstab").write_text("/dev/vda / ext4 defaults,noatime 0 1\n")
    (root / "etc/modules-load.d/vm.conf").write_text("uinput\nvirtio_net\nvirtio_rng\n")
    (root / "var/log/journal").mkdir(parents=True, exist_ok=True)
    (root / "etc/systemd/journald.conf.d").mkdir(exist_ok=True)
    (root / "etc/systemd/journald.conf.d/vm.conf").write_text("[Journal]\nSyncIntervalSec=10s\n")
    subprocess.run(
        ["chroot", root, "systemctl", "disable", *UNWANTED_UNITS], check=False, capture_output=True
    )
    subprocess.run(["chroot", root, "systemctl", "mask", "systemd-random-seed.service"], check=False,
                   capture_output=True)  # fmt: skip


def _install_agent(root: Path, deb: Path) -> None:
    shutil.copy(deb, root / "tmp/agent.deb")
    done = subprocess.run(
        ["chroot", root, "dpkg", "--force-unsafe-io", "--install", "/tmp/agent.deb"],  # noqa: S108 - of the image
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if done.returncode:
        raise CannotRunError(f"the package cannot be installed in the image:\n{done.stdout}{done.stderr}")
    (root / "tmp/agent.deb").unlink()
    (root / CONFIG_FILE.lstrip("/")).write_text(toml(SETTINGS))
    (root / "etc/credstore").mkdir(mode=0o700, exist_ok=True)
    token = root / "etc/credstore/device-token"
    token.write_text(DEFAULT_TOKEN + "\n")
    token.chmod(0o600)
    (root / "lab").mkdir(exist_ok=True)
    for file in GUEST.iterdir():
        if file.name in LOCAL_UNITS:
            shutil.copy(file, root / "etc/systemd/system" / file.name)
        elif file.is_file():
            shutil.copy(file, root / "lab" / file.name)
    subprocess.run(["chroot", root, "systemctl", "enable", "lab.service", "lab-api.socket"], check=True,
                   capture_output=True, timeout=60)  # fmt: skip


def _take_out_sync(root: Path) -> None:
    """Turn every fsync and fdatasync of the installed file layer into nothing."""
    taken = 0
    for file in (root / "usr/lib/recorder-agent").rglob("agent/**/disk.py"):
        text = file.read_text("utf-8")
        for call in ("os.fdatasync(", "os.fsync("):
            taken += text.count(call)
            text = text.replace(call, "int(")
        file.write_text(text, "utf-8")
        for compiled in file.parent.glob("__pycache__/disk.*.pyc"):
            compiled.unlink()
    if taken < 3:
        raise CannotRunError(
            f"the control finds {taken} calls of fsync in the file layer, and should find three or more."
        )
