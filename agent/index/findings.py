"""What reconciliation finds: one sentence for each mismatch between files and index."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.log import get_logger
from agent.small_file import OF_THE_DISK

log = get_logger(__name__)

MOST_SAID = 1000
_SAID: set[tuple[str, str]] = set()
"""What was said of things that are left alone: they stay where they are, and are met again and again."""


@dataclass
class Findings:
    """What reconciliation found: one sentence per mismatch; with ``dry_run`` nothing is changed."""

    dry_run: bool = False
    sentences: list[str] = field(default_factory=list)

    def found(self, sentence: str, action: str, path: Path) -> bool:
        """Note one, and return whether it shall be mended."""
        self.sentences.append(f"{path.name}: {sentence}")
        if not self.dry_run:
            log.warning(sentence, action=action, file=path.name)
        return not self.dry_run

    def left_alone(self, sentence: str, action: str, path: Path) -> None:
        """Note what nothing is done about; the log has it once in the life of the process."""
        self.sentences.append(f"{path.name}: {sentence}")
        if (sentence, path.name) not in _SAID and len(_SAID) < MOST_SAID:
            _SAID.add((sentence, path.name))
            log.warning(sentence, action=action, file=path.name)

    @contextlib.contextmanager
    def of_one(self, path: Path) -> Iterator[None]:
        """Let a fault of one file be that file's: it is named and left alone; one of the disk is everybody's."""
        try:
            yield
        except OSError as error:
            if error.errno in OF_THE_DISK:
                raise
            self.left_alone(f"cannot be used ({error.strerror}), left alone", "reconcile_unusable", path)
