"""Waits for one of some states in the published status, and prints the seconds: wait_state.py STATE,STATE SECONDS.

Exit code 1 when none of them comes; it prints the last one then.
"""

import json
import sys
import time
from pathlib import Path


def states() -> set[str]:
    """Return the states that the units' runtime directories show."""
    found = set()
    for file in Path("/run").glob("recorder-agent*/status.json"):
        try:
            found.add(str(json.loads(file.read_text("utf-8"))["state"]))
        except (OSError, ValueError, KeyError):
            continue
    return found


def main() -> int:
    """Return the exit code."""
    wanted, began = set(sys.argv[1].split(",")), time.monotonic()
    while time.monotonic() < began + float(sys.argv[2]):
        if wanted & states():
            print(f"{time.monotonic() - began:.1f} s")
            return 0
        time.sleep(0.1)
    print(*states())
    return 1


if __name__ == "__main__":
    sys.exit(main())
