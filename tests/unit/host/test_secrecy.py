"""A process that holds the device token leaves no core dump, and is nobody else's to look into."""

import json
import subprocess
import sys

PROGRAM = """
import ctypes, json, os, resource
from agent.api.device_token import Token
dumpable = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
before = dumpable()
token = Token("dtok_secret")
print(json.dumps([before, dumpable(), resource.getrlimit(resource.RLIMIT_CORE)]), flush=True)
os.abort()
"""


def test_no_core_of_a_process_that_holds_the_token() -> None:
    """From the first token on the process is not dumpable, and aborting leaves no core."""
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    before, after, limits = json.loads(run.stdout)
    assert (before, after, limits) == (1, 0, [0, 0])
    assert run.returncode == -6
