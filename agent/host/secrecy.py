"""Keeping a process that holds a secret out of core dumps and other processes' sight (prctl(2), PR_SET_DUMPABLE)."""

import contextlib
import ctypes
import resource
from functools import cache

_PR_SET_DUMPABLE = 4


@cache
def keep_out_of_dumps() -> None:
    """Let no core dump of this process be made and nobody but root look into it; for good, and once is enough.

    A limit of 0 alone would not do: where cores are piped to a program, the kernel asks it all the same.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
