"""What every part of a process works with, handed on as one object."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from agent.clock import Clock, SystemClock
from agent.config.schema import Config
from agent.disk import Disk
from agent.host.boot import boot_id as boot_id_of_kernel
from agent.status.board import Board

if TYPE_CHECKING:
    import random


class Environment:
    """Settings, state directory, clocks, file layer, board, and chance; a test gives its own of any of them."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        *,
        clock: Clock | None = None,
        disk: Disk | None = None,
        rng: "random.Random | None" = None,
        boot_id: str | None = None,
    ) -> None:
        self.config = config
        self.folder = folder
        """The state directory."""
        self.clock = clock or SystemClock()
        self.disk = disk or Disk()
        self._rng = rng
        self.boot_id = boot_id or boot_id_of_kernel()
        self.board = Board(self.clock.monotonic)

    @cached_property
    def rng(self) -> "random.Random":
        """Chance, for jitter."""
        from random import Random  # noqa: PLC0415 - the recorder leaves nothing to chance

        return self._rng or Random()  # noqa: S311 - jitter, not a secret
