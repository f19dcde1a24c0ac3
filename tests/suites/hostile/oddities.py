"""What can stand at the name of a file or folder instead of it."""

import contextlib
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.process.state_directory import bind

Plant = Callable[[Path], object]


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        bind(listener, path)


def _endless(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def _full_folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_text("x")


ODD: dict[str, Plant] = {
    "nothing": lambda _path: None,
    "fifo": os.mkfifo,
    "folder": Path.mkdir,
    "folder with something in it": _full_folder,
    "socket": _socket,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link into a missing folder": lambda path: path.symlink_to("/nowhere/at/all"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to a folder": lambda path: path.symlink_to("/usr"),
    "link to another's file": lambda path: path.symlink_to("/etc/passwd"),
    "empty": lambda path: path.write_bytes(b""),
    "a megabyte of NULs": lambda path: path.write_bytes(bytes(1 << 20)),
    "a terabyte of nothing": _endless,
    "no UTF-8": lambda path: path.write_bytes(b'{"a\xf6": "\xff\xfe"}\n'),
    "huge number": lambda path: path.write_bytes(b'{"next_seq": 1' + b"0" * 4000 + b', "pid": 9e999}\n'),
    "nested deeply": lambda path: path.write_bytes(b'{"a":' * 100_000),
    "a list": lambda path: path.write_bytes(b"[1, 2, 3]\n"),
    "one long line": lambda path: path.write_bytes(b"x" * 3_000_000),
    "escapes": lambda path: path.write_bytes(b'"\x1b]0;evil\x07\x1b[2J"\n'),
}
"""Planted where nothing stands."""


def _locked(path: Path) -> None:
    path.chmod(0)


def _read_only(path: Path) -> None:
    path.chmod(0o500 if path.is_dir() else 0o400)


def _cut(path: Path) -> None:
    if path.is_file():
        os.truncate(path, path.stat().st_size // 2)


def _immutable(path: Path) -> None:
    subprocess.run(["chattr", "+i", path], check=False, capture_output=True)


CHANGED: dict[str, Plant] = {
    "mode 000": _locked,
    "mode without writing": _read_only,
    "cut in half": _cut,
    "immutable": _immutable,
}
"""Done to what stands there; ``immutable`` where the file system knows it, and root may."""
KINDS = (*ODD, *CHANGED, "device node")


def plant(path: Path, kind: str) -> None:
    """Put something at a name, in the place of what stands there, for the owner of the folder."""
    if kind in CHANGED:
        if path.exists() and not path.is_symlink():
            CHANGED[kind](path)
        return
    remove(path)
    if kind == "device node":
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    else:
        ODD[kind](path)
    owner = path.parent.stat()
    for each in (path, *(path.iterdir() if path.is_dir() and not path.is_symlink() else ())):
        with contextlib.suppress(FileNotFoundError):
            os.chown(each, owner.st_uid, owner.st_gid, follow_symlinks=False)


def remove(path: Path) -> None:
    """Take away whatever stands at a name."""
    if path.is_dir() and not path.is_symlink():
        make_mutable(path)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def make_mutable(path: Path) -> None:
    """Let what was made immutable be removed again."""
    subprocess.run(["chattr", "-R", "-i", path], check=False, capture_output=True)


def names_in(folder: Path) -> Iterator[str]:
    """Yield the names of everything in a folder and below, relative to it."""
    for path in sorted(folder.rglob("*")):
        yield str(path.relative_to(folder))
