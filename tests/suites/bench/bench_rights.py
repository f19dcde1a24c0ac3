"""What the units leave open, as systemd itself counts it."""

import re
import subprocess
import tempfile
from pathlib import Path

from bench_device import ROOT

AIMS = {"recorder-agent.service": 0.8, "recorder-agent-delivery.service": 1.4}
RULES = ("PrivateUsers=yes", "ProtectProc=invisible")
"""What the control leaves out."""


def scores(unit: str) -> tuple[float, float]:
    """Return the exposure of a unit, and that of the same unit without two of its rules."""
    text = (ROOT / "systemd" / unit).read_text()
    opened = text
    for rule in RULES:
        opened = opened.replace(f"\n{rule}\n", "\n")
    if opened == text:
        raise SystemExit(f"{unit} has none of {', '.join(RULES)}")
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / unit
        file.write_text(opened)
        return _score(ROOT / "systemd" / unit), _score(file)


def _score(file: Path) -> float:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level.*: (\d+\.\d)", done.stdout)
    if found is None:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return float(found[1])
