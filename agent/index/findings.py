"""What reconciliation finds: one sentence for each mismatch between files and index."""

from dataclasses import dataclass, field
from pathlib import Path

from agent.log import get_logger

log = get_logger(__name__)


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
