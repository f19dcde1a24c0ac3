"""A state directory in memory is found out, however it is mounted."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.host.medium import in_memory


def told(tmp_path: Path, *lines: str, command_line: str = "") -> bool | None:
    """Return the verdict on tmp_path under a mount table; ``{here}`` is its device."""
    status = tmp_path.stat()
    here = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    table, command = tmp_path / "mountinfo", tmp_path / "cmdline"
    table.write_text("".join(f"{line.replace('{here}', here)}\n" for line in lines))
    command.write_text(command_line)
    return in_memory(tmp_path, table, command)


@pytest.mark.parametrize(
    ("kind", "source", "expected"),
    [
        ("ext4", "/dev/mmcblk0p2", False),
        ("tmpfs", "tmpfs", True),
        ("ramfs", "none", True),
        ("ext4", "/dev/zram0", True),
        ("ext4", "/dev/ram0", True),
        ("ext4", "/dev/zramble", False),
        ("btrfs", "/dev/sda1", False),
    ],
)
def test_plain_mounts(tmp_path: Path, kind: str, source: str, expected: bool) -> None:
    """By the kind of file system, or by the device under it."""
    assert told(tmp_path, f"22 1 {{here}} / / rw shared:1 - {kind} {source} rw") is expected


@pytest.mark.parametrize(
    ("lines", "command_line", "expected"),
    [
        (["30 22 0:40 / /media/root-rw rw - tmpfs tmpfs-root rw"], "", True),
        (["30 22 8:1 / /media/root-rw rw - ext4 /dev/sda1 rw"], "", False),
        ([], "console=tty1 boot=overlay quiet", True),
        ([], "overlayroot=tmpfs:recurse=0", True),
        ([], "console=tty1", None),
    ],
)
def test_overlays(tmp_path: Path, lines: list[str], command_line: str, expected: bool | None) -> None:
    """By what the upper layer lies on; where that cannot be seen, by what the kernel was told."""
    root = (
        "22 1 {here} / / rw - overlay overlayroot rw,lowerdir=/ro,upperdir=/media/root-rw/overlay,workdir=/w"
    )
    assert told(tmp_path, root, *lines, command_line=command_line) is expected


def test_nonsense_tells_nothing(tmp_path: Path) -> None:
    """A table that is none, or is missing, or a folder that is."""
    assert told(tmp_path, "nonsense", "a - b") is None
    assert in_memory(tmp_path, tmp_path / "none") is None
    assert in_memory(tmp_path / "none") is None


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """An overlay whose upper layer is on a tmpfs, on real mounts."""
    for name in ("memory", "lower", "merged"):
        (tmp_path / name).mkdir()
    memory, merged = tmp_path / "memory", tmp_path / "merged"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "none", memory], check=True)
    try:
        (memory / "upper").mkdir()
        (memory / "work").mkdir()
        layers = f"lowerdir={tmp_path / 'lower'},upperdir={memory / 'upper'},workdir={memory / 'work'}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, merged], check=True)
        try:
            yield merged
        finally:
            subprocess.run(["umount", merged], check=True)
    finally:
        subprocess.run(["umount", memory], check=True)


@pytest.mark.root
def test_a_real_overlay_on_a_real_tmpfs(mounted: Path, tmp_path: Path) -> None:
    """The kernel's own table."""
    (mounted / "state").mkdir()
    assert in_memory(mounted / "state") is True
    assert in_memory(tmp_path / "memory") is True
