"""The report's rows, bars, words and its HTML file."""

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from agent.gaps.log import Cause
from agent.report.bars import LEAST, parts_of, text_bar
from agent.report.html import TEMPLATES, html_of
from agent.report.rows import rows_of
from agent.report.words import length, missing_words, share

Json = dict[str, Any]
HOUR = 3_600_000


def heard(date: str, recorded_ms: int = 20 * HOUR, **missing_ms: int) -> Json:
    """Return a day as the recorder tells it."""
    return {
        "date": date,
        "recorded_ms": recorded_ms,
        "not_wanted_ms": 24 * HOUR - recorded_ms - sum(missing_ms.values()),
        "missing_ms": missing_ms,
        "silence_ms": 0,
        "until_ms": None,
    }


def sent(date: str, delivered: int = 3, waiting: int = 0) -> Json:
    """Return a day as the deliverer tells it."""
    return {
        "date": date,
        "delivered": delivered,
        "delivered_ms": delivered * HOUR,
        "waiting": waiting,
        "waiting_ms": waiting * HOUR,
    }


def test_what_both_processes_know_makes_one_row() -> None:
    """Lengths in seconds; what only one of them knows is null of the other; the newest days, oldest first."""
    rows = rows_of(
        [heard("2026-06-01"), heard("2026-06-02", muted=HOUR, no_microphone=1500)],
        [sent("2026-05-30", 0), sent("2026-06-02"), sent("2026-06-03", 0), {"date": "2026-06-99"}],
        7,
    )
    assert [row["date"] for row in rows] == ["2026-06-01", "2026-06-02", "2026-06-03"]
    assert rows[0]["delivered"] is rows[0]["waiting_at_end"] is None
    assert rows[2]["recorded_seconds"] is rows[2]["missing_seconds"] is None
    assert rows[1] == {
        "date": "2026-06-02",
        "wanted_seconds": 21 * 3600 + 1.5,
        "recorded_seconds": 20 * 3600,
        "not_wanted_seconds": 3 * 3600 - 1.5,
        "missing_seconds": {"muted": 3600, "no_microphone": 1.5},
        "delivered": 3,
        "delivered_seconds": 3 * 3600,
        "waiting_at_end": 0,
        "waiting_seconds_at_end": 0,
        "until": None,
    }
    assert rows_of([heard("2026-06-01"), heard("2026-06-02")], [], 1)[0]["date"] == "2026-06-02"


def test_the_bar_of_a_day() -> None:
    """Its parts follow each other without a gap, a second that is missing is seen, and a day of 25 hours fits."""
    (row,) = rows_of([heard("2026-06-01", 12 * HOUR, cut=1500)], [], 1)
    parts = parts_of(row)
    assert [part.kind for part in parts] == ["recorded", "missing", "not_wanted"]
    assert parts[1].length >= LEAST * 0.99
    for one, other in itertools.pairwise(parts):
        assert abs(one.begin + one.length - other.begin) < 1e-9
    assert abs(parts[-1].begin + parts[-1].length - 1) < 1e-9
    assert text_bar(row, 24) == "############x..........."
    (row,) = rows_of([heard("2026-10-25", 25 * HOUR) | {"not_wanted_ms": 0}], [], 1)
    assert text_bar(row, 24) == "#" * 24
    (row,) = rows_of([heard("2026-06-01", 6 * HOUR) | {"not_wanted_ms": 0}], [], 1)
    assert text_bar(row, 24) == "######" + " " * 18
    (row,) = rows_of([], [sent("2026-06-01")], 1)
    assert text_bar(row, 4) == "    "


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), (0.0, "0 s"), (0.01, "10 ms"), (7.3, "7.3 s"), (725, "12:05 min"), (86352, "23:59:12 h")],
)
def test_lengths(seconds: float | None, said: str) -> None:
    """Nothing is rounded to nothing."""
    assert length(seconds) == said


def test_words_of_a_day() -> None:
    """A loss is never rounded up to all, and the longest cause comes first."""
    (row,) = rows_of([heard("2026-06-01", 24 * HOUR - 2000, overflow=500, muted=1500)], [], 1)
    assert share(row) == "99.9 % of what was wanted was recorded"
    assert missing_words(row) == "2.0 s (muted 1.5 s, overflow 0.5 s)"


class Page(HTMLParser):
    """What a page refers to, and its structure."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.unlabelled = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what it loads, and count pictures that a screen reader meets without a name."""
        found = dict(attrs)
        self.tags.append(tag)
        self.addresses += [str(found[name]) for name in ("src", "href", "srcset", "action") if name in found]
        if tag == "svg" and "aria-label" not in found and found.get("aria-hidden") != "true":
            self.unlabelled += 1


def test_the_file_needs_no_other() -> None:
    """Nothing is loaded, every picture has a name or is none, and what comes from outside is text."""
    rows = rows_of([heard("2026-06-01", **dict.fromkeys(Cause, 60000))], [sent("2026-06-01")], 7)
    html = html_of(rows, title="Recorder <script>alert(1)</script>\x1b", made_at="now")
    page = Page(html)
    assert page.addresses == []
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert page.tags.count("svg") >= 2
    assert page.unlabelled == 0
    assert "url(" not in html
    assert "@import" not in html
    assert "\x1b" not in html
    assert "prefers-color-scheme: dark" in html
    for cause in Cause:
        assert cause.value.replace("_", " ") in html
    assert "Nothing has been recorded yet" in html_of([], title="x", made_at="now")


LUMINANCE = (0.2126, 0.7152, 0.0722)


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip(LUMINANCE, linear, strict=True))


def test_colours_can_be_told_from_their_ground() -> None:
    """Text by 4.5 : 1 and parts of a bar by 3 : 1 against the page, in light and in dark (WCAG 2.2, AA)."""
    style = (Path(TEMPLATES) / "style.css").read_text()
    light, dark = style.split("@media", 1)
    for block in (light, dark):
        colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", block))
        back = luminance(colours["back"])

        def contrast(name: str, back: float = back, colours: dict[str, str] = colours) -> float:
            other = luminance(colours[name])
            return (max(back, other) + 0.05) / (min(back, other) + 0.05)

        assert all(contrast(name) >= 4.5 for name in ("text", "soft")), colours
        parts = ("recorded", "absent", "microphone", "storage", "muted", "other", "sent")
        assert all(contrast(name) >= 3 for name in parts), {name: contrast(name) for name in parts}
