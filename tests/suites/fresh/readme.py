"""The commands of the README in the order in which a new owner types them, read from the page."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "README.md"
FIRST, LAST = "What you need", "Everyday questions"
FOR_MANY = "For many machines:"
"""What stands before the commands of an installation that asks nothing: not for a first owner."""


def first_commands(page: Path = PAGE) -> list[str]:
    """Return each command line from "What you need" to the first working recorder, as printed."""
    text = page.read_text("utf-8")
    part = text[text.index(f"## {FIRST}") : text.index(f"## {LAST}")]
    commands: list[str] = []
    before = ""
    for line in part.splitlines():
        if line.startswith("    "):
            if not before.endswith(FOR_MANY):
                commands.append(line.strip())
        elif line.strip():
            before = line.strip()
            commands += re.findall(r"^- `(sudo apt [^`]+)`$", before)
    return commands
