"""What the suite has found: figures beside their bounds, and the list of what is known to be red."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

KNOWN_REDS = Path(__file__).parent / "known_reds.toml"
NEAR = "near its bound: "
"""So begins the reason of one that is red in one run and green in the next."""

HOST = "host_has_time"
WAITED_SHARE = 0.4
"""A machine that waits longer for a processor loses sound that no recorder could have kept."""


@dataclass(frozen=True)
class Finding:
    """One figure; ``good`` None: it is only told."""

    part: str
    name: str
    figure: str
    bound: str
    good: bool | None

    @property
    def key(self) -> str:
        """Its name in the list of known reds."""
        return f"{self.part}.{self.name}"


class Findings:
    """Collects findings, and tells each when it comes."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._part = ""
        self.all: list[Finding] = []
        self.not_run: list[str] = []

    def begin(self, part: str) -> None:
        """Name the part that the next findings belong to."""
        self._part = part

    def figure(self, name: str, figure: str) -> None:
        """Take a figure that is only told."""
        self._add(Finding(self._part, name, figure, "", None))

    def check(self, name: str, figure: str, bound: str, *, good: bool) -> None:
        """Take a figure, and whether it is within its bound."""
        self._add(Finding(self._part, name, figure, bound, good))

    def host(self, waited_share: float) -> None:
        """Take how long the machine waited for a processor of this host; beyond the bound nothing can be judged."""
        self.check(
            HOST, f"waited for a processor {100 * waited_share:.0f} % of its time",
            f"{100 * WAITED_SHARE:.0f} %", good=waited_share <= WAITED_SHARE,
        )  # fmt: skip

    def skip(self, what: str, why: str) -> None:
        """Take what could not be run."""
        self.not_run.append(f"{self._part}: {what}: {why}")
        self._say(f"not run: {self.not_run[-1]}")

    def _add(self, finding: Finding) -> None:
        self.all.append(finding)
        words = {None: "", True: "good", False: "RED"}[finding.good]
        self._say(
            f"  {finding.name}: {finding.figure} {f'({finding.bound})' if finding.bound else ''} {words}"
        )


def table(findings: list[Finding], reds: dict[str, str]) -> str:
    """Return all findings as a table."""
    rows = [("part", "figure", "measured", "bound", "verdict")]
    for each in findings:
        verdict = {None: "", True: "good", False: "KNOWN RED" if each.key in reds else "RED"}[each.good]
        rows.append((each.part, each.name, each.figure, each.bound, verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)).rstrip()
        for row in rows
    )


def known_reds() -> dict[str, str]:
    """Return the reason of each finding that is known to be red, by its key."""
    return {key: str(reason) for key, reason in tomllib.loads(KNOWN_REDS.read_text("utf-8")).items()}


def verdict(findings: list[Finding], reds: dict[str, str]) -> list[str]:
    """Return why the suite fails: what is red and not known, and what is known as red and is not; empty: it passes.

    A known red that was not judged in this run says nothing, and one that is ``NEAR`` its bound may be green.
    """
    judged: dict[str, bool] = {}
    for each in findings:
        if each.good is not None:
            judged[each.key] = judged.get(each.key, True) and each.good
    busy = [key for key, good in judged.items() if key.endswith(f".{HOST}") and not good]
    if busy:
        return [f"{key}: this host is too busy to judge by; run it again when it is not" for key in busy]
    failures = [f"{key} is red" for key, good in judged.items() if not good and key not in reds]
    failures += [
        f"{key} is green now: take it off {KNOWN_REDS.name}"
        for key, reason in reds.items()
        if judged.get(key, False) and not reason.startswith(NEAR)
    ]
    return failures
