"""What the first installation on a bare Debian has left and said."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from machine import Json

INSTALL_SECONDS = 300


@dataclass(frozen=True)
class Installation:
    """The first installation on a bare Debian, and the layer it has left."""

    layer: Path
    said: subprocess.CompletedProcess[str]
    seconds: float
    to_sound: float
    to_delivery: float
    unit: dict[str, str]
    status: str
    answer: Json
    journal: str
    copies: dict[str, int]
