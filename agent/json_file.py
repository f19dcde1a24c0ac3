"""One small JSON file of the state directory: read with distrust, replaced durably."""

from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from agent.disk import Disk
from agent.small_file import Decoder, load, load_or_none

T = TypeVar("T")


class JsonFile(Generic[T]):
    """Holds a value of the decoder's type, or nothing; ``step`` names its writes for the file layer."""

    def __init__(self, path: Path, decoder: Decoder[T], disk: Disk, step: str) -> None:
        self.path = path
        self._decoder = decoder
        self._disk = disk
        self._step = step

    def load(self) -> T:
        """Return what it holds.

        Raises:
            FileNotFoundError: there is none.
            UnusableFile: it cannot be read, or holds nothing of the type.
        """
        return load(self.path, self._decoder)

    def load_or_none(self) -> T | None:
        """Return what it holds, None when there is none or when it holds nothing of the type."""
        return load_or_none(self.path, self._decoder)

    def replace(self, value: T) -> None:
        """Let it hold a value, durable when this returns; OSError as the disk gives it."""
        self._disk.replace(self.path, msgspec.json.encode(value), self._step)
