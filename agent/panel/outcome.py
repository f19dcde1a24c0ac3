"""What became of settings and token that somebody has brought: told by one start of the machine to the LED."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from agent.small_file import load_or_none

OUTCOME_FILE = "outcome.json"
RECENT_SECONDS = 120.0
SYSTEM_FOLDER = Path("/run/recorder-agent-provision")
"""The runtime directory of ``recorder-agent-provision.service``."""


class Outcome(msgspec.Struct, frozen=True):
    """Whether it was accepted, and what was said."""

    accepted: bool
    boot_seconds: float
    """When, by CLOCK_BOOTTIME."""
    sentence: Annotated[str, Meta(max_length=4000)] = ""


OUTCOME = msgspec.json.Decoder(Outcome)


def recent_outcome(boot_seconds: float, folder: Path = SYSTEM_FOLDER) -> Outcome | None:
    """Return what was told just before a moment of CLOCK_BOOTTIME; None where nothing was brought."""
    told = load_or_none(folder / OUTCOME_FILE, OUTCOME)
    return told if told is not None and 0 <= boot_seconds - told.boot_seconds < RECENT_SECONDS else None
