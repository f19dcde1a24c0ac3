"""What a process did to a folder, by the kernel's own account: the log of strace, read back as changes and syncs."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from event_log import MARK

CALLS = (
    "open,openat,creat,write,writev,pwrite64,pwritev,fsync,fdatasync,sync_file_range,ftruncate,truncate,fallocate,"
    "rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,access,faccessat"
)
_LINE = re.compile(rb"^(\d+) +(\w+)\((.*)\) += +(-?\d+|0x\w+)(.*)$", re.DOTALL)
_FD = re.compile(rb"^(\d+)<((?:\\x\w\w)*)>")
_TEXT = re.compile(rb'"((?:\\x\w\w)*)"(\.\.\.)?')
_SHARED_MEMORY = "-shm"
_KNOWN = {
    "open", "openat", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "fallocate",
    "rename", "unlink", "mkdir", "access", "faccessat",
}  # fmt: skip


def strace(log: Path) -> tuple[str | Path, ...]:
    """Return the command that traces another."""
    options = (
        "-f",
        "-y",
        "-xx",
        "-s",
        "4000000",
        "--seccomp-bpf",
        "-e",
        "signal=none",
        "-e",
        f"trace={CALLS}",
    )
    return ("strace", *options, "-o", log)


@dataclass(frozen=True)
class Call:
    """A system call that succeeded, on paths below the folder; or a mark, whose ``path`` is its name."""

    name: str
    path: str
    target: str = ""
    """Where a rename goes."""
    data: bytes = b""
    offset: int | None = None
    """None: at the position of the descriptor."""
    flags: str = ""
    size: int = 0
    descriptor: int = -1


def read_journal(log: Path, folder: Path) -> Iterator[Call]:
    """Yield the calls on a folder, and the marks between them, in order.

    Raises:
        ValueError: a call that the card does not know was made there.
    """
    halves: dict[bytes, bytes] = {}
    prefix = str(folder)
    for line in log.read_bytes().split(b"\n"):
        whole = _whole(line, halves)
        match = _LINE.match(whole) if whole else None
        if match is None:
            continue
        _pid, name, arguments, result, _rest = match.groups()
        call = _call(name.decode(), arguments, int(result, 0))
        if call is None:
            continue
        above = call.name == "fsync" and call.path == str(folder.parent)
        below = call.path.startswith(prefix) and not call.path.endswith(_SHARED_MEMORY)
        if above or below or call.name == "mark":
            if call.name not in {*_KNOWN, "mark"}:
                raise ValueError(f"{call.name} of {call.path}")
            yield call


def _whole(line: bytes, halves: dict[bytes, bytes]) -> bytes | None:
    """Put a call together that another thread's call has interrupted in the log; it counts when it ended."""
    pid = line.split(b" ", 1)[0]
    if line.endswith(b"<unfinished ...>"):
        halves[pid] = line.removesuffix(b"<unfinished ...>")
        return None
    resumed = re.match(rb"^\d+ +<\.\.\. \w+ resumed>", line)
    return halves.pop(pid, b"") + line[resumed.end() :] if resumed else line


def _call(name: str, arguments: bytes, result: int) -> Call | None:
    texts = [_plain(text) for text, _ in _TEXT.findall(arguments)]
    if name in {"access", "faccessat"}:
        path = texts[0].decode()
        return Call("mark", path.removeprefix(MARK)) if path.startswith(MARK) else None
    if result < 0:
        return None
    if name in {"open", "openat"}:
        flags = arguments.rsplit(b'"', 1)[1].decode()
        return Call(name, texts[0].decode(), flags=flags, descriptor=result)
    found = _FD.match(arguments)
    if found:
        path = _plain(found[2]).decode().removesuffix(" (deleted)")
        numbers = [int(part) for part in arguments.rsplit(b">", 1)[1].split(b", ") if part.strip().isdigit()]
        if name == "write":
            return Call(name, path, data=texts[0][:result], descriptor=int(found[1]))
        if name == "pwrite64":
            offset = int(arguments.rsplit(b", ", 1)[1])
            return Call(name, path, data=texts[0][:result], offset=offset, descriptor=int(found[1]))
        size = numbers[0] if name == "ftruncate" else sum(numbers)
        return Call(name, path, size=size, descriptor=int(found[1]))
    paths = [text.decode() for text in texts]
    return Call(name, paths[0], target=paths[1] if len(paths) > 1 else "") if paths else None


def _plain(text: bytes) -> bytes:
    return bytes.fromhex(text.replace(b"\\x", b"").decode())
