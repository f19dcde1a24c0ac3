"""Lives and dies for the tests: reads orders as JSON lines, lives each in a process of its own, says how it ended.

    python driver.py    {"folder": …, "diary": …, …}  →  {"signal": 9, "code": null}

The parent imports the agent once and forks for each order: a life costs milliseconds, and is killed for real.
"""

import json
import os
import sys
import traceback

from life import Life, Order


def main() -> None:
    """Serve orders until standard input ends."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _live(line)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps({"signal": -code if code < 0 else None, "code": code if code >= 0 else None}), flush=True)


def _live(line: str) -> None:
    code = 3
    try:
        order = json.loads(line)
        if order.pop("daemon", False):
            from daemonlife import live_as_daemon

            live_as_daemon(order)
        else:
            Life(Order(**order)).run()
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the life ends here and says so
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
