"""The pins of the board, for LED and button: gpiozero (extra ``[gpio]``), and one sentence when there are none."""

import importlib.util
import os
import warnings
from pathlib import Path
from typing import Any

from agent.errors import AgentError
from agent.hints import extra
from agent.log import get_logger

log = get_logger(__name__)

DEVICES = Path("/dev")


def gpiozero_for(key: str, devices: Path = DEVICES) -> Any:
    """Return gpiozero, once it has found a library that drives pins; ``key``: the setting that needs them.

    Which libraries it has tried before is told at debug level, not by its warnings.

    Raises:
        AgentError: gpiozero is missing, or there are no pins that may be driven; says what is missing.
    """
    try:
        import gpiozero  # noqa: PLC0415 - an extra, and 10 MiB
    except ImportError as error:
        raise AgentError(f"{key} needs gpiozero", f"{extra('gpio')} brings it") from error
    if gpiozero.Device.pin_factory is None:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                gpiozero.Device.ensure_pin_factory()
            except Exception as error:  # the pin libraries beneath raise what they like
                reasons = "; ".join(str(each.message) for each in said) or str(error)
                why, hint = _missing(devices, reasons)
                raise AgentError(f"{key} needs the board's pins, and {why}", hint) from error
        for each in said:
            log.debug("a pin library was passed over", action="pins_fallback", reason=str(each.message))
    return gpiozero


def _missing(devices: Path, reasons: str) -> tuple[str, str]:
    """Return what is missing, and what to do."""
    chips = sorted(devices.glob("gpiochip*"))
    if not chips:
        return (
            f"this machine has none (no {devices}/gpiochip0)",
            "take the setting out, or use a board with pins",
        )
    if not any(os.access(chip, os.R_OK | os.W_OK) for chip in chips):
        return (
            f"there is no right to {chips[0]}",
            "`sudo usermod -aG gpio $USER`, then log out and in again (of a service: install it again)",
        )
    if importlib.util.find_spec("lgpio") is None:
        return "the library lgpio is missing", f"{extra('gpio')} brings it"
    return f"no library drives them ({reasons[:300]})", "see which board this is"
