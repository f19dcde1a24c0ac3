"""Sets or refreshes a device token in a process of its own, which kills itself before the n-th durable step.

Arguments: ``set`` or the base URL to refresh at, the state directory, the token file, the number of the step. The
new token of ``set`` is on standard input. Exit code 0: there were fewer steps.
"""

import os
import signal
import sys
from pathlib import Path

from agent.clock import SystemClock
from agent.disk import Disk
from agent.token.store import Credentials, Token


class MortalDisk(Disk):
    """Dies before the n-th durable step, with no chance to tidy up."""

    def __init__(self, step: int) -> None:
        self.left = step
        super().__init__(self._count)

    def _count(self, _step: str) -> None:
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1


def main(what: str, state: Path, token_file: str, step: int) -> None:
    """Do it."""
    mortal = Credentials(state, token_file, {}, MortalDisk(step))
    if what == "set":
        mortal.store(Token(sys.stdin.readline().strip()))
        return
    from agent.api.client import RecordingsApi
    from agent.config.schema import ApiConfig
    from agent.token.refresh import refresh

    api = RecordingsApi(ApiConfig(base_url=what), mortal.token, SystemClock())
    refresh(mortal, api)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
