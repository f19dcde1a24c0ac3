"""Waits for one of some states in the published status, and prints the seconds.

usage: wait_state.py STATE,STATE SECONDS [FAULT]. FAULT is a pattern that the fault's sentence must match. Exit code 1
when it does not come; it prints what the status says then.
"""

import json
import re
import sys
import time
from pathlib import Path


def said() -> list[tuple[str, str]]:
    """Return each state, with the sentence of its fault, that the units' runtime directories show."""
    found = []
    for file in Path("/run").glob("recorder-agent*/status.json"):
        try:
            document = json.loads(file.read_text("utf-8"))
            found.append((str(document["state"]), str(document.get("fault") or "")))
        except (OSError, ValueError, KeyError):
            continue
    return found


def main() -> int:
    """Return the exit code."""
    wanted, began = set(sys.argv[1].split(",")), time.monotonic()
    fault = re.compile(sys.argv[3] if len(sys.argv) > 3 else "")
    while time.monotonic() < began + float(sys.argv[2]):
        if any(state in wanted and fault.search(sentence) for state, sentence in said()):
            print(f"{time.monotonic() - began:.1f} s")
            return 0
        time.sleep(0.1)
    print(*(": ".join(filter(None, each)) for each in said()))
    return 1


if __name__ == "__main__":
    sys.exit(main())
