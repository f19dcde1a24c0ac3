# ruff: noqa: INP001 - a script, and no package
"""Changes of the owner to the service of versions that had one, given to the one of the two services they concern.

Usage: drop_ins.py move FOLDER CONFIG [--first]   what concerns delivery goes to its service
       drop_ins.py back FOLDER                    and back to the one service of an older version

FOLDER holds units (/etc/systemd/system), CONFIG is the file of settings. ``--first``: the version before had one
service; then lines that concern both are copied, and those that nobody but the owner can place are named. Without it
only lines that the recorder can have no use for are moved.
"""

import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RECORDER, DELIVERY = "recorder-agent.service", "recorder-agent-delivery.service"
OURS = {"10-installed.conf", "05-older-version.conf"}
"""Written by the installer, and by it alone."""
MARK = "# Moved here from recorder-agent.service, which only records now.\n"
CREDENTIALS = {
    "LoadCredential", "LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted", "ImportCredential",
}  # fmt: skip
NETWORK = {"RestrictAddressFamilies", "IPAddressAllow", "IPAddressDeny", "SocketBindAllow", "BindToDevice"}
ACCOUNT = {"User", "Group", "SupplementaryGroups", "EnvironmentFile", "ProtectHome", "RequiresMountsFor"}
PATHS = {"ReadWritePaths", "ReadOnlyPaths", "BindPaths", "BindReadOnlyPaths"}
ORDER = {"After", "Before", "Wants", "Requires", "BindsTo"}
STAYS = {
    "DeviceAllow", "DevicePolicy", "PrivateDevices", "Nice", "OOMScoreAdjust", "CPUSchedulingPolicy",
    "CPUSchedulingPriority", "CPUAffinity", "IOSchedulingClass", "WatchdogSec", "RestartSec", "Description",
}  # fmt: skip
DEVICES = ("/sys/", "/dev/")
NETWORK_VARIABLES = ("PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")

Kind = str
"""Whom a line concerns: ``recorder``, ``delivery``, ``both``, or ``unclear``."""


@dataclass
class Line:
    """A directive with the comments above it and the lines it goes on in."""

    section: str
    key: str
    value: str
    text: str


@dataclass
class Split:
    """What becomes of one drop-in."""

    recorder: list[Line] = field(default_factory=list)
    delivery: list[Line] = field(default_factory=list)
    unclear: list[Line] = field(default_factory=list)


def parse(text: str) -> list[Line]:
    """Return the directives of a unit file in their order; comments at its end are left out."""
    found: list[Line] = []
    section, held, lines = "", "", iter(text.splitlines(keepends=True))
    for line in lines:
        stripped = line.strip()
        if not stripped or stripped.startswith(("#", ";")):
            held += line
        elif stripped.startswith("["):
            section, held = stripped.strip("[]"), ""
        else:
            whole = line
            while whole.rstrip("\n").endswith("\\"):
                whole += next(lines, "")
            key, _, value = whole.partition("=")
            value = value.replace("\\\n", " ").strip()
            found.append(Line(section, key.strip(), value, held + whole.rstrip("\n") + "\n"))
            held = ""
    return found


def kind(line: Line, settings: dict[str, Any]) -> Kind:
    """Return whom a line concerns."""
    if line.key in CREDENTIALS | NETWORK:
        return "delivery"
    if line.key in PATHS:
        return _kind_of_paths(line.value, settings)
    if line.key == "Environment":
        return "delivery" if _is_for_the_network(line.value) else "both"
    if line.key in ORDER:
        return "delivery" if line.value.startswith("network") else "both"
    if line.key in ACCOUNT:
        return "both"
    return "recorder" if line.key in STAYS else "unclear"


def _kind_of_paths(value: str, settings: dict[str, Any]) -> Kind:
    paths = [Path(word.strip('"').lstrip("-+").split(":")[0]) for word in value.split()]
    if not paths or any(str(path).startswith(DEVICES) for path in paths):
        return "recorder" if paths else "both"
    metrics = _text(settings, "metrics", "file")
    folder = Path(metrics).parent if metrics else None
    if folder is not None and all(folder.is_relative_to(path) for path in paths):
        storage = Path(_text(settings, "storage", "directory") or "/var/lib/recorder-agent")
        return "both" if any(storage.is_relative_to(path) for path in paths) else "delivery"
    return "both"


def _is_for_the_network(value: str) -> bool:
    name = value.strip('"').partition("=")[0].upper()
    return name.endswith(NETWORK_VARIABLES)


def _text(settings: dict[str, Any], section: str, key: str) -> str:
    table = settings.get(section)
    value = table.get(key) if isinstance(table, dict) else None
    return value if isinstance(value, str) else ""


def split(lines: list[Line], settings: dict[str, Any], *, is_first: bool) -> Split:
    """Return which lines stay, which go to delivery (those of both are in both), and which are unclear."""
    result = Split()
    for line in lines:
        whom = kind(line, settings)
        if whom == "delivery":
            result.delivery.append(line)
            continue
        result.recorder.append(line)
        if is_first and whom == "both":
            result.delivery.append(line)
        elif is_first and whom == "unclear":
            result.unclear.append(line)
    return result


def render(lines: list[Line]) -> str:
    """Return lines as a unit file, a heading before each section."""
    text, section = "", None
    for line in lines:
        if line.section != section:
            section = line.section
            text += f"[{section}]\n"
        text += line.text
    return text


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.conf") if path.name not in OURS and path.is_file())


def move(folder: Path, settings: dict[str, Any], *, is_first: bool) -> list[str]:
    """Give each line to the unit it concerns, and return what to tell the owner, a sentence each."""
    told = []
    for file in _files(folder / f"{RECORDER}.d"):
        lines = parse(file.read_text("utf-8", "surrogateescape"))
        parts = split(lines, settings, is_first=is_first)
        target = folder / f"{DELIVERY}.d" / file.name
        if parts.delivery:
            _add(target, parts.delivery)
            if parts.recorder:
                _write(file, render(parts.recorder))
            else:
                file.unlink()
            keys = ", ".join(dict.fromkeys(line.key for line in parts.delivery))
            told.append(f"What concerns delivery in {file} ({keys}) is in {target} now.")
        if parts.unclear:
            keys = ", ".join(dict.fromkeys(line.key for line in parts.unclear))
            told.append(
                f"{keys} in {file} changes the recorder alone from now on: "
                f"where it is meant for delivery, move it to {target}."
            )
    return told


def back(folder: Path) -> list[str]:
    """Give what ``move`` has taken from the one service back to it."""
    told = []
    for file in _files(folder / f"{DELIVERY}.d"):
        text = file.read_text("utf-8", "surrogateescape")
        if not text.startswith(MARK):
            continue
        _add(folder / f"{RECORDER}.d" / file.name, parse(text.removeprefix(MARK)), mark="")
        file.unlink()
        told.append(f"{file} is in {folder / f'{RECORDER}.d'} again.")
    return told


def _add(file: Path, lines: list[Line], mark: str = MARK) -> None:
    """Add lines to a drop-in, made when there is none; those that stand there already are not repeated."""
    text = file.read_text("utf-8", "surrogateescape") if file.exists() else mark
    there = [(line.section, line.key, line.value) for line in parse(text)]
    new = [line for line in lines if (line.section, line.key, line.value) not in there]
    if new:
        _write(file, text + render(new))


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    new.write_text(text, "utf-8", "surrogateescape")
    new.chmod(file.stat().st_mode & 0o777 if file.exists() else 0o644)
    new.replace(file)


def _settings(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError):  # what the settings do not tell is told by the lines alone
        return {}


def main(arguments: list[str]) -> None:
    """Carry out one command, and print what the owner should know."""
    command, folder = arguments[0], Path(arguments[1])
    if command == "move":
        told = move(folder, _settings(Path(arguments[2])), is_first="--first" in arguments[3:])
    else:
        told = back(folder)
    sys.stdout.writelines(f"{line}\n" for line in told)


if __name__ == "__main__":
    main(sys.argv[1:])
