"""One HTML file with all in it: nothing is loaded from anywhere, light and dark, for a phone and a screen reader."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from agent import text
from agent.report import bars, words

TEMPLATES = Path(__file__).parent / "templates"

Json = dict[str, Any]


def environment(*folders: Path) -> Environment:
    """Return what renders templates of this folder and of others; every value is escaped."""
    found = Environment(
        loader=FileSystemLoader([*map(str, folders), str(TEMPLATES)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals.update(words=words, parts_of=bars.parts_of, sent_length=bars.sent_length)
    found.filters["shown"] = lambda value: text.shown(str(value), keep="")
    return found


def html_of(rows: list[Json], *, title: str, made_at: str) -> str:
    """Return the report of some days as a file; ``made_at`` is the moment of its making, for a person."""
    return environment().get_template("report.html").render(rows=rows, title=title, made_at=made_at)
