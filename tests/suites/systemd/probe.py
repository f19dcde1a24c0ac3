"""Run in place of a service, under all the rules of its unit: says as JSON what it can and cannot do.

Usage: probe.py [STATE]: the state directory, where it is not systemd's.
"""

import contextlib
import ctypes
import grp
import json
import os
import socket
import sys
from pathlib import Path

from agent.host import time_sync


def main() -> None:
    """Try everything and print what came of it."""
    state = Path(sys.argv[1] if sys.argv[1:] else os.environ["STATE_DIRECTORY"].split(":")[0])
    tried = {
        "microphone": lambda: os.close(os.open("/dev/snd/pcmC0D0c", os.O_RDWR)),
        "other device": lambda: os.close(os.open("/dev/kmsg", os.O_RDONLY)),
        "LED": lambda: Path("/sys/class/leds/ACT/brightness").write_text("1", "ascii"),
        "other LED": lambda: Path("/sys/class/leds/other/brightness").write_text("1", "ascii"),
        "battery": lambda: Path("/sys/class/power_supply/BAT0/capacity").read_text("ascii").strip(),
        "boot id": lambda: len(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()),
        "memory": lambda: Path("/proc/meminfo").read_text("ascii").startswith("MemTotal"),
        "adjtimex": time_sync.kernel_is_synchronized,
        "internet": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close(),
        "internet 6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close(),
        "interfaces": _interfaces,
        "state": lambda: _makes(state),
        "token": (state / "token/device-token").read_text,
        "folder of the token": lambda: [path.name for path in (state / "token").iterdir()],
        "link to the token": (state / "device-token").read_text,
        "credentials": lambda: [path.name for path in Path("/run/credentials").iterdir()],
        "runtime": lambda: _makes(Path(os.environ["RUNTIME_DIRECTORY"])),
        "socket for the group": _shares_a_socket,
        "/etc": lambda: _makes(Path("/etc")),
        "/home": lambda: [path.name for path in Path("/home").iterdir()],
        "/root": lambda: [path.name for path in Path("/root").iterdir()],
        "temporary files of others": (Path("/tmp") / "others").exists,  # noqa: S108
        "other processes": lambda: sum(path.name == "1" for path in Path("/proc").iterdir()),
        "packets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
        "clock": _settimeofday,
        "kernel setting": lambda: Path("/proc/sys/kernel/hostname").write_text("x", "ascii"),
        "code at run time": _maps_code,
        "capabilities": _capabilities,
    }
    answers = {}
    for name, attempt in tried.items():
        try:
            answers[name] = attempt()
        except OSError as error:
            answers[name] = f"refused: {error.strerror}"
    print(json.dumps(answers), flush=True)


def _interfaces() -> list[str]:
    lines = Path("/proc/self/net/dev").read_text("ascii").splitlines()[2:]
    return sorted(line.partition(":")[0].strip() for line in lines)


def _makes(folder: Path) -> bool:
    file = folder / "probe"
    file.write_text("x", "ascii")
    file.unlink()
    return True


def _shares_a_socket() -> str:
    path = Path(os.environ["RUNTIME_DIRECTORY"]) / "probe.sock"
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
        listener.bind(str(path))
        stack.callback(path.unlink)
        os.chown(path, -1, grp.getgrnam("recorder-agent").gr_gid)
        path.chmod(0o660)
        return f"{path.stat().st_mode & 0o777:o} {grp.getgrgid(path.stat().st_gid).gr_name}"


def _settimeofday() -> None:
    if ctypes.CDLL(None, use_errno=True).settimeofday(b"\0" * 16, None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _maps_code() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
    if libc.mmap(None, 4096, 7, 0x22, -1, 0) == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return True


def _capabilities() -> int:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return sum(int(line.split()[1], 16) for line in lines if line.startswith("Cap"))


main()
