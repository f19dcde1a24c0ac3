"""What the owner's rules say to sending now: off-peak hours, and a battery that is low (``[sync]`` of the settings)."""

from collections.abc import Callable
from typing import NamedTuple

from agent.config.schema import SyncConfig
from agent.hints import typed
from agent.host.battery import Battery
from agent.sync.rules.data_usage import DataUsage
from agent.sync.rules.networks import NetworkRules
from agent.sync.rules.off_peak import OffPeak
from agent.sync.rules.waits_by_rule import WaitsByRule

OFF_PEAK = "off-peak"
LOW_BATTERY = "low battery"


class Rules:
    """The rules that a person who asks for ``sync`` overrides; ``now`` gives the best known unix time in seconds."""

    def __init__(
        self, settings: SyncConfig, now: Callable[[], float], battery: Callable[[], Battery | None]
    ) -> None:
        self._now = now
        self._battery = battery if settings.pause_on_low_battery else lambda: None
        self._threshold = settings.low_battery_threshold_percent
        self._hours = OffPeak(settings.off_peak_hours) if settings.off_peak_hours else None

    def obstacle(self) -> WaitsByRule | None:
        """Return why nothing may be sent now, and until when; None when it may."""
        opens_at = self._hours.opens_at(self._now()) if self._hours else None
        if opens_at is not None:
            return WaitsByRule(OFF_PEAK, f"{typed('sync')} sends at any hour", round(opens_at * 1000))
        battery = self._battery()
        if battery is not None and battery.is_low(self._threshold):
            return WaitsByRule(LOW_BATTERY, f"charge it, or {typed('sync')}")
        return None


class OwnerRules(NamedTuple):
    """All that the owner's settings have to say to sending."""

    times: Rules
    """Asked before each recording."""
    networks: NetworkRules
    """Asked before each step, and while audio is sent."""
    usage: DataUsage
    """Asked before the audio of each recording."""
