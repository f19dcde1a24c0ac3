"""The distribution's kernel, with the few modules that the machine needs, and an initial RAM disk to mount its root."""

import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

from vm.problem import CannotRunError

ROOT_MODULES = ("virtio_blk", "ext4")
"""Loaded by the initial RAM disk."""
MODULES = (
    *ROOT_MODULES, "virtio_net", "virtio_rng", "xhci_pci", "snd_usb_audio", "snd_aloop", "snd_hda_intel",
    "snd_hda_codec_generic", "uinput", "evdev", "ledtrig_timer", "dm_mod", "dm_flakey", "loop",
)  # fmt: skip
META_PACKAGES = ("linux-image-6.12-amd64", "linux-image-amd64")
"""The first that the distribution has: 6.12 is what Raspberry Pi OS runs."""
MOUNT_ROOT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs devtmpfs /dev
while read -r module; do /bin/busybox insmod "$module"; done </modules/order
for attempt in 1 2 3 4 5 6 7 8 9 10; do [ -e /dev/vda ] && break; /bin/busybox sleep 0.2; done
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /root || exec /bin/busybox sh
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
"""


def newest_package() -> str:
    """Return the name and version of the kernel package that the distribution offers now.

    Raises:
        CannotRunError: apt knows no kernel for this architecture.
    """
    for meta in META_PACKAGES:
        depends = _said("apt-cache", "depends", meta)
        found = re.search(r"Depends: (linux-image-\S+)", depends)
        if found:
            policy = _said("apt-cache", "policy", found[1])
            candidate = re.search(r"Candidate: (\S+)", policy)
            if candidate and candidate[1] != "(none)":
                return f"{found[1]}={candidate[1]}"
    raise CannotRunError(
        f"apt offers none of the kernels {', '.join(META_PACKAGES)}: run apt-get update on an amd64 Debian."
    )


def install(package: str, root: Path, into: Path) -> None:
    """Put the kernel's modules into ``root``, and ``vmlinuz`` and ``initrd`` into the folder ``into``."""
    work = into / "kernel"
    work.mkdir()
    subprocess.run(
        ["apt-get", "--quiet=2", "--option=APT::Sandbox::User=root", "download", package],
        cwd=work, check=True, stdin=subprocess.DEVNULL, timeout=600,
    )  # fmt: skip
    subprocess.run(
        ["dpkg-deb", "--extract", next(work.glob("*.deb")), work / "tree"], check=True, timeout=300
    )
    shutil.copy(next((work / "tree/boot").glob("vmlinuz-*")), into / "vmlinuz")
    _bring_modules(work / "tree", root)
    _write_initrd(root, into)
    shutil.rmtree(work)


def _bring_modules(tree: Path, root: Path) -> None:
    source = next(path for path in (tree / "lib/modules", tree / "usr/lib/modules") if path.is_dir())
    release = next(source.iterdir()).name
    _depmod(tree, release)
    target = root / "lib/modules" / release
    target.mkdir(parents=True)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(source / release / name, target / name)
    for file in _closure(tree, release, MODULES):
        copy = target / file.relative_to((source / release).resolve())
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    for packed in target.rglob("*.ko.xz"):
        subprocess.run(["xz", "--decompress", packed], check=True, timeout=60)
    _depmod(root, release)


def _write_initrd(root: Path, into: Path) -> None:
    release = next((root / "lib/modules").iterdir()).name
    members: dict[str, tuple[int, bytes]] = dict.fromkeys(("bin", "dev", "modules", "root"), (16877, b""))
    members["bin/busybox"] = (0o100755, (root / "bin/busybox").read_bytes())
    members["init"] = (0o100755, MOUNT_ROOT.encode())
    files = _closure(root, release, ROOT_MODULES)
    for file in files:
        members[f"modules/{file.name}"] = (0o100644, file.read_bytes())
    members["modules/order"] = (0o100644, "".join(f"/modules/{file.name}\n" for file in files).encode())
    (into / "initrd").write_bytes(gzip.compress(_cpio(members), compresslevel=1))


def _closure(root: Path, release: str, names: tuple[str, ...]) -> list[Path]:
    """Return the files of modules with all that they need, in the order of loading; what is built in has none."""
    files: dict[Path, None] = {}
    for name in names:
        lines = _said("modprobe", "--dirname", str(root), "--set-version", release, "--show-depends", name)
        for line in lines.splitlines():
            if line.startswith("insmod "):
                files[Path(line.split()[1]).resolve()] = None
    return list(files)


def _depmod(root: Path, release: str) -> None:
    subprocess.run(["depmod", "--basedir", root, release], check=True, timeout=120)


def _cpio(members: dict[str, tuple[int, bytes]]) -> bytes:
    """Return an archive in the format "newc", which the kernel unpacks."""
    pieces = []
    for inode, (name, (mode, data)) in enumerate([*members.items(), ("TRAILER!!!", (0, b""))], 1):
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        pieces += [header, bytes(-len(header) % 4), data, bytes(-len(data) % 4)]
    return b"".join(pieces)


def _said(*command: str) -> str:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    return done.stdout
