"""What the battery says, from ``/sys/class/power_supply``; a Pi on the mains has none."""

from pathlib import Path
from typing import NamedTuple

_BATTERIES = {"Battery", "UPS"}
_FULL_PERCENT = 100


class Battery(NamedTuple):
    """The machine's batteries, as one."""

    percent: int
    """0 to 100."""
    charging: bool

    def is_low(self, threshold_percent: int) -> bool:
        """Whether it is at or below a threshold and nothing charges it."""
        return not self.charging and self.percent <= threshold_percent


def battery(sysfs_root: Path = Path("/sys")) -> Battery | None:
    """Return the batteries that power the machine, several by their mean; None when there is none that tells."""
    percents: list[int] = []
    charging = False
    for folder in sorted((sysfs_root / "class/power_supply").glob("*")):
        if not _powers_the_machine(folder):
            continue
        percent = _percent(folder)
        if percent is not None:
            percents.append(percent)
            charging = charging or _text(folder, "status") == "Charging"
    return Battery(round(sum(percents) / len(percents)), charging) if percents else None


def _powers_the_machine(folder: Path) -> bool:
    """Whether it is a battery that is plugged in, and not one of a mouse or a keyboard (scope ``Device``)."""
    return (
        _text(folder, "type") in _BATTERIES
        and _text(folder, "scope") != "Device"
        and _text(folder, "present") != "0"
    )


def _percent(folder: Path) -> int | None:
    """Return ``capacity``, else what energy or charge say of it; None when a driver tells neither."""
    capacity = _number(folder, "capacity")
    for kind in ("energy", "charge"):
        now, full = _number(folder, f"{kind}_now"), _number(folder, f"{kind}_full")
        if capacity is None and now is not None and full:
            capacity = round(_FULL_PERCENT * now / full)
    return None if capacity is None else min(max(capacity, 0), _FULL_PERCENT)


def _number(folder: Path, name: str) -> int | None:
    try:
        return int(_text(folder, name))
    except ValueError:
        return None


def _text(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text(encoding="ascii", errors="replace").strip()
    except OSError:  # a driver that has no answer now (ENODATA, ENODEV), or no such attribute
        return ""
