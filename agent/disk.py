"""The file layer: the only place that makes bytes and names durable.

Every durable step carries a name (``finish.rename_audio``). A test hands in its own ``Disk`` (or an observer) to
stop, fail or record at exactly that step; the agent itself attaches no meaning to the names.
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast


def no_observer(step: str) -> None:
    """Ignore a step."""


def share_with_nobody(descriptor: int) -> None:
    """Leave a new file to its owner alone."""


def set_aside(path: Path) -> Path:
    """Give what stands in the way at a name of ours another name, and return that; nobody looks for it there.

    Raises:
        OSError: it cannot be moved.
    """
    return path.rename(path.with_name(f"{path.name}.{time.time_ns()}.foreign"))


class Disk:
    """Durable file operations; ``observer`` is called with the step's name before each of them.

    All methods raise OSError as the kernel gives it.
    """

    def __init__(self, observer: Callable[[str], None] = no_observer) -> None:
        self._observer = observer

    def step(self, name: str) -> None:
        """Announce a durable step that another layer (SQLite) is about to take."""
        self._observer(name)

    def create(self, path: Path, step: str) -> BinaryIO:
        """Create a new file for writing, unbuffered, mode 0600; it must not exist."""
        self._observer(step)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        return cast("BinaryIO", os.fdopen(descriptor, "r+b", buffering=0))

    def write(self, file: BinaryIO, data: bytes, step: str) -> None:
        """Write all of ``data`` at the file's position."""
        self._observer(step)
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]

    def write_at(self, file: BinaryIO, offset: int, data: bytes, step: str) -> None:
        """Overwrite bytes in the middle of a file; its position does not matter."""
        self._observer(step)
        view = memoryview(data)
        while view:
            written = os.pwrite(file.fileno(), view, offset)
            view, offset = view[written:], offset + written

    def truncate(self, file: BinaryIO, size: int, step: str) -> None:
        """Cut a file to ``size`` bytes."""
        self._observer(step)
        os.ftruncate(file.fileno(), size)

    def sync_data(self, file: BinaryIO, step: str) -> None:
        """Make the file's bytes and length durable (fdatasync)."""
        self._observer(step)
        os.fdatasync(file.fileno())

    def sync(self, file: BinaryIO, step: str) -> None:
        """Make the file's bytes, length and metadata durable (fsync)."""
        self._observer(step)
        os.fsync(file.fileno())

    def sync_folder(self, folder: Path, step: str) -> None:
        """Make the names in a folder durable."""
        self._observer(step)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path, step: str) -> None:
        """Move a file within the file system, replacing the target.

        After a power cut both may be names of one file; rename(2) would leave both.
        """
        self._observer(step)
        if source == target:
            return
        source.rename(target)
        with contextlib.suppress(FileNotFoundError):
            if source.samefile(target):
                source.unlink()

    def unlink(self, path: Path, step: str) -> None:
        """Remove a name; it is no error when it is gone already."""
        self._observer(step)
        path.unlink(missing_ok=True)

    def replace(
        self,
        path: Path,
        data: bytes,
        step: str,
        share: Callable[[int], object] = share_with_nobody,
        *,
        name_synced: bool = True,
    ) -> None:
        """Give ``path`` new contents so that it always holds either the old or the new ones, whole.

        A folder that stands at one of the two names is set aside. ``share`` is called with the new file's descriptor,
        and may give it to others; without it the file has mode 0600. Without ``name_synced``
        the folder is the caller's to sync.
        Temporary file → write → fsync → rename → fsync of the folder, as ``<step>.create``, ``.write``, ``.sync``,
        ``.rename`` and ``.sync_folder``.
        """
        temporary = path.with_name(path.name + ".tmp")
        self.write_new(temporary, data, step, share)
        try:
            self.rename(temporary, path, f"{step}.rename")
        except IsADirectoryError:
            set_aside(path)
            self.rename(temporary, path, f"{step}.rename")
        if name_synced:
            self.sync_folder(path.parent, f"{step}.sync_folder")

    def write_new(
        self, path: Path, data: bytes, step: str, share: Callable[[int], object] = share_with_nobody
    ) -> None:
        """Write a durable file under a name of no account (what stood there goes); its folder is not synced."""
        if os.path.lexists(path):
            try:
                self.unlink(path, f"{step}.unlink_old")
            except IsADirectoryError:
                set_aside(path)
        with self.create(path, f"{step}.create") as file:
            self.write(file, data, f"{step}.write")
            share(file.fileno())
            self.sync(file, f"{step}.sync")
