"""What a person is told to type, spelled so that it can be typed as it stands on this machine."""

import contextlib
import grp
import sys
from functools import cache
from pathlib import Path

SERVICE_STATE = Path("/var/lib/recorder-agent")
"""There where a service is installed; it belongs to the service's account."""
UNITS = ("recorder-agent", "recorder-agent-delivery")
INSTALLED, PACKAGED = Path("/opt/recorder-agent"), Path("/usr/lib/recorder-agent")


def typed(arguments: str) -> str:
    """Return a command of ours in backquotes."""
    return f"`{_root()}recorder-agent {arguments}`"


def start() -> str:
    """Return how the processes are started."""
    return f"`{_root()}systemctl start recorder-agent.target`" if is_service_here() else typed("run")


def stop() -> str:
    """Return how both processes are stopped."""
    return f"`{_root()}systemctl stop recorder-agent.target`" if is_service_here() else "end it (Ctrl-C)"


def restart() -> str:
    """Return how both processes are started anew."""
    service = f"`{_root()}systemctl restart recorder-agent.target`"
    return (
        service
        if is_service_here()
        else f"end `recorder-agent run` and start it again, a service by {service}"
    )


def journal(unit: str = "") -> str:
    """Return where the log is: of the services, or of one of them; by hand it goes to standard error."""
    units = " ".join(f"-u {name}" for name in ((unit,) if unit else UNITS))
    service = f"`{_root()}journalctl -e {units}`"
    return service if is_service_here() else f"what `recorder-agent run` has printed, of a service {service}"


def extra(name: str) -> str:
    """Return how the libraries of an extra come to this installation; never into the system's own Python."""
    if Path(sys.prefix).is_relative_to(INSTALLED):
        option = f" --{name}" if name in {"gpio", "metrics", "voice", "web"} else ""
        return f"`{_root()}./systemd/install{option}` in the folder it was installed from"
    if Path(sys.prefix).is_relative_to(PACKAGED):
        return f"`{_root()}apt-get install --reinstall recorder-agent`"
    if sys.prefix != sys.base_prefix:
        return f"`{sys.prefix}/bin/pip install 'recorder-agent[{name}]'`"
    return f"`make setup` in the folder of the source, then `.venv/bin/pip install '.[{name}]'`"


def settle() -> str:
    """Return how the services come to be opened for what the settings say."""
    if PACKAGED.is_dir() and not (INSTALLED / "current").exists():
        return f"`{_root()}dpkg-reconfigure recorder-agent` opens that for the services"
    if is_service_here():
        return f"`{_root()}./systemd/install` in the folder it was installed from opens that for the services"
    return restart()


def reach(folder: Path) -> str:
    """Return how one comes to be heard by a process whose runtime folder this is."""
    with contextlib.suppress(OSError, KeyError):
        group = grp.getgrgid(folder.stat().st_gid).gr_name
        if is_service_here() and group != "root":
            return f"`sudo usermod -aG {group} $USER`, then log out and in again, or use sudo"
    return "run this as its owner, or with sudo"


@cache
def is_service_here() -> bool:
    """Whether a service is installed on this machine."""
    return SERVICE_STATE.is_dir()


@cache
def _root() -> str:
    """Return what stands before a command that works on the service's state: only root becomes its account."""
    from shutil import which  # noqa: PLC0415 - for an error only

    return "sudo " if is_service_here() and which("sudo") else ""
