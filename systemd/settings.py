# ruff: noqa: INP001 - a script, and no package
"""What the installer asks of the configuration file, and the settings it makes there: comments stay as they are.

Usage: settings.py extras FILE              the extras of the package that the settings need
       settings.py service FILE UNIT        lines for [Service] of the unit "recorder" or "delivery" that they need
                                            beyond it, and no others
       settings.py directory FILE           storage.directory, or nothing
       settings.py earlier FILE             where the state of the service has lain before, a folder a line
       settings.py due FILE                 minutes until a recording that begins now is finished, or nothing
       settings.py set FILE KEY=VALUE...    set section.key to a text (needs tomlkit), in the place of the line that
                                            gives its default as a comment
"""

import contextlib
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

LEDS_OF_THE_UNIT = {"ACT", "PWR", "led0", "led1"}
SERVICE_STATE = Path("/var/lib/recorder-agent")
SEGMENT_SECONDS = 600
"""The default of recording.segment_seconds."""


def extras(settings: dict[str, Any]) -> list[str]:
    """Return the names of the extras that the settings need."""
    wanted = {"gpio": _uses_pins(settings), "metrics": bool(_value(settings, "metrics", "file"))}
    wanted["voice"] = _listens_for_speech(settings)
    return [name for name, is_needed in wanted.items() if is_needed]


def _listens_for_speech(settings: dict[str, Any]) -> bool:
    """Whether recordings begin when somebody speaks; another trigger needs no library."""
    windows = _value(settings, "recording", "schedule")
    is_voiced = _value(settings, "recording", "mode") == "voice" or any(
        isinstance(window, dict) and window.get("voice") is True
        for window in (windows if isinstance(windows, list) else [])
    )
    return is_voiced and _value(settings, "voice", "trigger") in {None, "speech"}


def service(settings: dict[str, Any], unit: str) -> list[str]:
    """Return what a unit has to allow: the recorder an LED of another name, delivery the folder of the metrics.

    Both a folder of the owner's choice for the recordings; the token's folder in it is made, so that it can be
    hidden, and hidden from the recorder.
    """
    lines, paths = [], []
    led = _value(settings, "led", "name")
    if (
        unit == "recorder"
        and _value(settings, "led", "driver") == "sysfs"
        and led
        and led not in LEDS_OF_THE_UNIT
    ):
        paths.append(f"/sys/class/leds/{led}")
    if directory := _value(settings, "storage", "directory"):
        paths.append(directory)
        if unit == "recorder":
            lines = _hides_token(directory)
    if unit == "delivery" and (file := _value(settings, "metrics", "file")):
        paths.append(str(Path(file).parent))
    return [f"ReadWritePaths=-{_quoted(path)}" for path in paths] + lines


def _hides_token(directory: str) -> list[str]:
    """Return how the token's folder is made, which a path that is hidden has to be, and hidden."""
    folder = _quoted(str(Path(directory) / "token"))
    return [
        f"ExecStartPre=-/bin/mkdir -p -m 0700 {folder.replace('$', '$$')}",
        f"InaccessiblePaths=-{folder}",
    ]


def earlier(settings: dict[str, Any], service_state: Path = SERVICE_STATE) -> list[str]:
    """Return where the state has lain before, as the recorder has noted it; the service's own folder comes first."""
    noted: Any = []
    with contextlib.suppress(OSError, ValueError):
        noted = json.loads((service_state / "places.json").read_text("utf-8"))
    here = Path(_value(settings, "storage", "directory") or service_state).resolve()
    places = [service_state, *(Path(place) for place in noted if isinstance(place, str) and place[:1] == "/")]
    return [str(place) for place in dict.fromkeys(places) if place.resolve() != here and place.is_dir()]


def due(settings: dict[str, Any]) -> list[str]:
    """Return the minutes after which a recording that begins now is finished; nothing where no rule says it."""
    if _value(settings, "recording", "mode") not in {None, "continuous"}:
        return []
    seconds = _value(settings, "recording", "segment_seconds")
    seconds = seconds if isinstance(seconds, int) and seconds > 0 else SEGMENT_SECONDS
    return [str(-(-seconds // 60))]


def set_values(file: Path, assignments: list[str]) -> None:
    """Set keys of sections to texts, each given as ``section.key=value``."""
    import tomlkit  # noqa: PLC0415 - there only while something is set

    split = [assignment.partition("=") for assignment in assignments]
    text = file.read_text("utf-8")
    for name, _, _ in split:
        text = _taken_into_use(text, *name.split(".", 1))
    document: Any = tomlkit.parse(text)
    for name, _, value in split:
        section, _, key = name.partition(".")
        document.setdefault(section, tomlkit.table())[key] = value
    file.write_text(tomlkit.dumps(document), "utf-8")


def _taken_into_use(text: str, section: str, key: str) -> str:
    """Return the settings with the commented default of a key in use, unless the key is set in its section."""
    lines = text.splitlines(keepends=True)
    start = next((n for n, line in enumerate(lines) if line.strip() == f"[{section}]"), None)
    if start is None:
        return text
    end = next((n for n in range(start + 1, len(lines)) if lines[n].startswith("[")), len(lines))
    if any(re.match(rf"\s*{re.escape(key)}\s*=", line) for line in lines[start:end]):
        return text
    for number in range(start, end):
        if re.match(rf"#{re.escape(key)}\s*=", lines[number]):
            lines[number] = lines[number][1:]
            break
    return "".join(lines)


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
        "service": service(settings, arguments[2]) if command == "service" else [],
        "due": due(settings),
        "earlier": earlier(settings),
        "directory": [_value(settings, "storage", "directory") or ""],
    }
    sys.stdout.writelines(f"{line}\n" for line in answers[command])


if __name__ == "__main__":
    main(sys.argv[1:])
