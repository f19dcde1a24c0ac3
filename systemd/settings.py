# ruff: noqa: INP001 - a script, and no package
"""What the installer asks of the configuration file, and the settings it makes there: comments stay as they are.

Usage: settings.py extras FILE              the extras of the package that the settings need
       settings.py service FILE             lines for [Service] that they need beyond the unit, and no others
       settings.py directory FILE           storage.directory, or nothing
       settings.py set FILE KEY=VALUE...    set section.key to a text (needs tomlkit)
"""

import sys
import tomllib
from pathlib import Path
from typing import Any

LIGHTS_OF_THE_UNIT = {"ACT", "PWR", "led0", "led1"}


def extras(settings: dict[str, Any]) -> list[str]:
    """Return the names of the extras that the settings need."""
    wanted = {"gpio": _uses_pins(settings), "metrics": bool(_value(settings, "metrics", "file"))}
    return [name for name, is_needed in wanted.items() if is_needed]


def service(settings: dict[str, Any]) -> list[str]:
    """Return what the unit has to allow for a light of another name and for folders of the owner's choice."""
    light = _value(settings, "led", "name")
    paths = []
    if _value(settings, "led", "driver") == "sysfs" and light and light not in LIGHTS_OF_THE_UNIT:
        paths.append(f"/sys/class/leds/{light}")
    if directory := _value(settings, "storage", "directory"):
        paths.append(directory)
    if file := _value(settings, "metrics", "file"):
        paths.append(str(Path(file).parent))
    return [f"ReadWritePaths=-{_quoted(path)}" for path in paths]


def set_values(file: Path, assignments: list[str]) -> None:
    """Set keys of sections to texts, each given as ``section.key=value``."""
    import tomlkit  # noqa: PLC0415 - there only while something is set

    document: Any = tomlkit.parse(file.read_text("utf-8"))
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        section, _, key = name.partition(".")
        document.setdefault(section, tomlkit.table())[key] = value
    file.write_text(tomlkit.dumps(document), "utf-8")


def _uses_pins(settings: dict[str, Any]) -> bool:
    return _value(settings, "led", "driver") == "gpio" or bool(_value(settings, "button", "gpio"))


def _value(settings: dict[str, Any], section: str, key: str) -> Any:
    table = settings.get(section)
    return table.get(key) if isinstance(table, dict) else None


def _quoted(path: str) -> str:
    """Return a path as unit files want it: no specifiers, no words."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if " " in path else escaped


def main(arguments: list[str]) -> None:
    """Carry out one command."""
    command, file = arguments[0], Path(arguments[1])
    if command == "set":
        set_values(file, arguments[2:])
        return
    settings = tomllib.loads(file.read_text("utf-8")) if file.exists() else {}
    answers = {
        "extras": extras(settings),
        "service": service(settings),
        "directory": [_value(settings, "storage", "directory") or ""],
    }
    sys.stdout.writelines(f"{line}\n" for line in answers[command])


if __name__ == "__main__":
    main(sys.argv[1:])
