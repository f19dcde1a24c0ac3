"""A memory card whose power goes away: what was synced is there, of the rest a part, in any order.

The rules are POSIX's strict reading. The bytes of a file are durable once that file was synced. A name, made or
removed, is durable once its own folder was synced. A rename that was not synced has happened or has not; once one of
its two folders was synced, its half there has happened, and the other half may not have.
"""

import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from journal import Call

PAGE = 4096
SYNCS = frozenset({"fsync", "fdatasync"})


@dataclass
class File:
    """A file: what is durable of it, and what is not yet."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Offset and bytes; without bytes a new size."""
    size: int = 0

    def sync(self) -> None:
        """Make all of it durable."""
        for change in self.pending:
            _apply(self.durable, change)
        self.pending.clear()

    def survives(self, chance: float, rng: random.Random) -> bytes:
        """Return what a cut leaves: each unsynced page with a chance, sizes with the same."""
        data = bytearray(self.durable)
        for offset, piece in (part for change in self.pending for part in _pages(change)):
            if rng.random() < chance:
                _apply(data, (offset, piece))
            elif piece is not None and rng.random() < chance:
                _apply(data, (max(len(data), offset + len(piece)), None))
        return bytes(data)


@dataclass
class Folder:
    """Names: those that are durable, and changes that are not yet, each with the number of its operation."""

    durable: dict[str, "Node"] = field(default_factory=dict)
    now: dict[str, "Node"] = field(default_factory=dict)
    pending: list[tuple[int, str, "Node | None"]] = field(default_factory=list)

    def change(self, operation: int, name: str, node: "Node | None") -> None:
        """Make or remove a name."""
        self.pending.append((operation, name, node))
        _set(self.now, name, node)

    def sync(self) -> None:
        """Make all names durable."""
        self.durable = dict(self.now)
        self.pending.clear()


Node = File | Folder


@dataclass(frozen=True)
class Chance:
    """How likely it is that unsynced bytes, and unsynced names, survive."""

    data: float
    names: float


class Card:
    """Replays a journal up to a moment, without the syncs of some steps, and gives images of what a cut leaves."""

    def __init__(self, root: Path, without: Iterable[str] = ()) -> None:
        self._root = Folder()
        self._prefix = root
        self._without = frozenset(without)
        self._step = ""
        self._operation = 0
        self._positions: dict[int, tuple[File, int, bool]] = {}

    def replay(self, calls: Sequence[Call]) -> "Card":
        """Let calls happen."""
        for call in calls:
            if call.name == "mark":
                self._step = call.path.removeprefix("step/") if call.path.startswith("step/") else self._step
            else:
                self._happen(call)
        return self

    def _happen(self, call: Call) -> None:
        self._operation += 1
        if call.name in SYNCS:
            self._sync(call)
        elif call.name in {"open", "openat"}:
            self._open(call)
        elif call.name in {"write", "pwrite64"}:
            self._write(call)
        elif call.name == "ftruncate":
            self._truncate(call)
        elif call.name == "rename":
            self._rename(call)
        elif call.name in {"unlink", "mkdir"}:
            folder, name = self._place(call.path)
            folder.change(self._operation, name, None if call.name == "unlink" else Folder())

    def _sync(self, call: Call) -> None:
        node = self._of_descriptor(call)
        if node is not None and self._step not in self._without:
            node.sync()

    def _truncate(self, call: Call) -> None:
        node = self._of_descriptor(call)
        if isinstance(node, File):
            node.pending.append((call.size, None))
            node.size = call.size

    def _of_descriptor(self, call: Call) -> Node | None:
        found = self._find(call.path)
        if isinstance(found, Folder):
            return found
        known = self._positions.get(call.descriptor)
        return known[0] if known else found

    def _open(self, call: Call) -> None:
        self._positions.pop(call.descriptor, None)
        node = self._find(call.path)
        if node is None and "O_CREAT" in call.flags:
            folder, name = self._place(call.path)
            node = File()
            folder.change(self._operation, name, node)
        if isinstance(node, File):
            if "O_TRUNC" in call.flags:
                node.pending.append((0, None))
                node.size = 0
            self._positions[call.descriptor] = (node, 0, "O_APPEND" in call.flags)

    def _write(self, call: Call) -> None:
        file, position, appends = self._positions[call.descriptor]
        offset = call.offset if call.offset is not None else file.size if appends else position
        file.pending.append((offset, call.data))
        end = offset + len(call.data)
        file.size = max(file.size, end)
        if call.offset is None:
            self._positions[call.descriptor] = (file, end, appends)

    def _rename(self, call: Call) -> None:
        (source, old), (target, new) = self._place(call.path), self._place(call.target)
        node = source.now[old]
        target.change(self._operation, new, node)
        source.change(self._operation, old, None)

    def _place(self, path: str) -> tuple[Folder, str]:
        parent = self._find(os.path.dirname(path))  # noqa: PTH120 - texts of a trace, not paths of this machine
        assert isinstance(parent, Folder), path
        return parent, path.rpartition("/")[2]

    def _find(self, path: str) -> Node | None:
        node: Node | None = self._root
        for name in Path(path).relative_to(self._prefix).parts:
            node = node.now.get(name) if isinstance(node, Folder) else None
        return node

    def image(self, chance: Chance, rng: random.Random) -> "Image":
        """Return one card that a cut at this moment may leave."""
        image = Image()
        fate: dict[int, bool] = {}
        self._fill(self._root, Path(), image, chance, rng, fate)
        return image

    def _fill(
        self,
        folder: Folder,
        where: Path,
        image: "Image",
        chance: Chance,
        rng: random.Random,
        fate: dict[int, bool],
    ) -> None:
        image.folders.append(where)
        for name, node in self._survivors(folder, chance, rng, fate).items():
            if isinstance(node, Folder):
                self._fill(node, where / name, image, chance, rng, fate)
            else:
                image.files[where / name] = image.contents.setdefault(
                    id(node), node.survives(chance.data, rng)
                )
                image.nodes[where / name] = id(node)

    def _survivors(
        self, folder: Folder, chance: Chance, rng: random.Random, fate: dict[int, bool]
    ) -> dict[str, Node]:
        """Return a folder's names: an unsynced operation happens in all its folders, or in none."""
        names = dict(folder.durable)
        for operation, name, node in folder.pending:
            if fate.setdefault(operation, rng.random() < chance.names):
                _set(names, name, node)
        return names


@dataclass
class Image:
    """A card after the cut."""

    folders: list[Path] = field(default_factory=list)
    files: dict[Path, bytes] = field(default_factory=dict)
    nodes: dict[Path, int] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)

    def write(self, root: Path) -> None:
        """Put it into a folder; a file with two names has two names there, too."""
        first: dict[int, Path] = {}
        for folder in self.folders:
            (root / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        for path, data in self.files.items():
            known = first.setdefault(self.nodes[path], root / path)
            if known == root / path:
                known.write_bytes(data)
            else:
                (root / path).hardlink_to(known)


def _set(names: dict[str, Node], name: str, node: Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def _apply(data: bytearray, change: tuple[int, bytes | None]) -> None:
    offset, piece = change
    if piece is None:
        del data[offset:]
        data.extend(bytes(offset - len(data)))
        return
    if offset > len(data):
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(piece)] = piece


def _pages(change: tuple[int, bytes | None]) -> Iterable[tuple[int, bytes | None]]:
    """Split a write where pages of the card begin: each of them survives by itself."""
    offset, data = change
    if data is None:
        yield change
        return
    while data:
        room = PAGE - offset % PAGE
        yield offset, data[:room]
        offset, data = offset + room, data[room:]
