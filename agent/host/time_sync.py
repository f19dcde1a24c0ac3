"""Whether the wall clock is right, as the machine itself knows it."""

import ctypes
import errno
import functools
import os
from collections.abc import Callable
from pathlib import Path

TIMESYNC_FLAG = Path("/run/systemd/timesync/synchronized")
_STA_UNSYNC = 0x0040
_TIME_ERROR = 5


def clock_state(
    flag: Path = TIMESYNC_FLAG, is_synchronized: Callable[[], bool | None] | None = None
) -> str | None:
    """Return ``"ntp"``, ``"unsynchronized"``, or None when the machine does not tell.

    systemd-timesyncd touches ``flag`` once it is synchronised; any other time service tells the kernel.
    """
    if flag.exists():
        return "ntp"
    answer = (is_synchronized or kernel_is_synchronized)()
    return None if answer is None else "ntp" if answer else "unsynchronized"


def kernel_is_synchronized() -> bool | None:
    """Return what adjtimex(2) says; None where it is missing or may not be asked (ProtectClock=yes)."""
    timex = _Timex()
    adjtimex = _adjtimex()
    if adjtimex is None:
        return None
    state = adjtimex(ctypes.byref(timex))
    if state == -1:
        if ctypes.get_errno() in {errno.EPERM, errno.ENOSYS}:
            return None
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return state != _TIME_ERROR and not timex.status & _STA_UNSYNC


@functools.cache
def _adjtimex() -> Callable[..., int] | None:
    """Look the function up once: it is asked for with each moment that is told."""
    try:
        found: Callable[..., int] = ctypes.CDLL(None, use_errno=True).adjtimex
    except AttributeError:
        return None
    return found


class _Timex(ctypes.Structure):
    """The beginning of ``struct timex`` (linux/timex.h) and room for its rest; modes = 0 only asks."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )
