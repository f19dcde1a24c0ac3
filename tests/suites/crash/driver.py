"""Lives and dies for the tests: reads orders as JSON lines, lives each in a process of its own, says how it ended.

    python driver.py    {"folder": …, "diary": …, …}  →  {"signal": 9, "code": null}

The parent imports the agent once and forks for each order: a life costs milliseconds, and is killed for real.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from daemonlife import live_as_daemon
from life import Life, RemoteCommand

import agent.sync.clock_wait
import agent.sync.delivery
import agent.sync.failures

PRELOADED = (agent.sync.clock_wait, agent.sync.failures, agent.sync.delivery)


def main() -> None:
    """Serve orders until standard input ends."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _live(line)
        if '"daemon": true' in line:
            _answer(pid=child)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        _answer(signal=-code if code < 0 else None, code=code if code >= 0 else None)


def _answer(**facts: int | None) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _live(line: str) -> None:
    code = 3
    order = json.loads(line)
    try:
        if order.pop("daemon", False):
            live_as_daemon(order)
        else:
            Life(RemoteCommand(**order)).run()
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the life ends here and says so
        with Path(order["folder"], "diary.traceback").open("a") as file:
            traceback.print_exc(file=file)
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
