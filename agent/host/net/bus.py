"""What NetworkManager and ModemManager know and the kernel does not: whether a connection costs, and roams.

Asked over the system bus by systemd's ``busctl``, a process of its own: it needs no library where memory counts, its
answer has a limit, and one that hangs is killed. Where there is no bus, no ``busctl`` or no such service, nothing is
known, and nothing waits for it.
"""

import json
import os
import subprocess
import threading
from typing import Any

SECONDS = 3.0
"""The longest that one question may take."""
MOST_BYTES = 1 << 20
BUSCTL = ("busctl", "--system", "--json=short", "--auto-start=no", f"--timeout={SECONDS:g}")
_MANAGER, _NETWORK = "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"
_MODEMS, _MODEM_ROOT = "org.freedesktop.ModemManager1", "/org/freedesktop/ModemManager1"
_YES, _NO, _GUESS_YES = 1, 2, 3
"""NMMetered of NetworkManager's D-Bus API. Its guess that one is not (4) is no word: a modem that looks like a cable is
one to it."""
_METERED = {_YES: True, _GUESS_YES: True, _NO: False}
_ROAMING = {5, 7, 10}
"""MMModem3gppRegistrationState: roaming, for SMS only, without CSFB preferred."""
_KNOWN = {1, 5, 6, 7, 9, 10}
"""Those in which it is registered, at home or not."""


def metered() -> bool | None:
    """Return whether NetworkManager calls the connection in use metered; None when it does not say."""
    answer = _ask("get-property", _MANAGER, _NETWORK, _MANAGER, "Metered")
    value = answer.get("data") if isinstance(answer, dict) else None
    return _METERED.get(value) if isinstance(value, int) else None


def roaming(interface: str) -> bool | None:
    """Return whether ModemManager says that the modem of an interface roams; None when it does not say.

    A modem that does not say which interfaces are its own stands for every one.
    """
    answer = _ask("call", _MODEMS, _MODEM_ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    try:
        modems = list(answer["data"][0].values())
        states = [state for modem in modems if (state := _state_of(modem, interface)) is not None]
    except (AttributeError, IndexError, KeyError, TypeError):
        return None
    known = [state for state in states if state in _KNOWN]
    return any(state in _ROAMING for state in known) if known else None


def _state_of(modem: dict[str, Any], interface: str) -> int | None:
    """Return the registration of a modem, None for another interface's."""
    ports = modem.get(f"{_MODEMS}.Modem", {}).get("Ports", {}).get("data", [])
    names = {port[0] for port in ports}
    if names and interface not in names and not interface.startswith("ppp"):
        return None
    state = modem.get(f"{_MODEMS}.Modem.Modem3gpp", {}).get("RegistrationState", {}).get("data")
    return state if isinstance(state, int) else None


def _ask(*question: str) -> Any:
    """Return busctl's answer, None for none, or for one that is too long, or too late."""
    try:
        process = subprocess.Popen(
            [*BUSCTL, *question],
            # busctl would tell systemd that it is ready, as if it were the service.
            env={name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None
    killer = threading.Timer(SECONDS + 1, process.kill)
    killer.daemon = True
    killer.start()
    try:
        with process:
            if process.stdout is None:
                return None
            said = process.stdout.read(MOST_BYTES + 1)
            process.kill()
        return json.loads(said) if len(said) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        return None
    finally:
        killer.cancel()
