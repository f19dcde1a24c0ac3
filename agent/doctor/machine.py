"""Checks of the machine itself: clock, LED, service, temperature and power."""

import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agent.config.schema import SYSTEM_FILE, LedConfig
from agent.doctor.disks import Disks
from agent.doctor.examination import Finding, critical, healthy, skipped, unknown, warning
from agent.doctor.extras import is_there
from agent.errors import AgentError
from agent.facade.context import Session
from agent.hints import SERVICE_STATE, journal, settle, typed
from agent.host.time_sync import clock_state
from agent.panel.led_driver import led_driver_for

HOT_DEGREES = 75.0
WEAK_NOW, SLOW_NOW, WAS_WEAK = 0x1, 0x4, 0x10000
"""Bits of the Raspberry Pi firmware's ``get_throttled``: the last one holds since the start."""
POWER_HINT = "use a better power supply and cable: weak power breaks cards and microphones"
ENDED_BADLY = "failed"
SERVICES = ("recorder-agent", "recorder-agent-delivery")


@dataclass(frozen=True)
class Machine:
    """Where the checks look; another root is another machine."""

    sysfs: Path = Path("/sys")
    systemctl: str = "/usr/bin/systemctl"
    clock_state: Callable[[], str | None] = clock_state
    disks: Disks = field(default_factory=Disks)

    def clock(self, _session: Session) -> Finding:
        """Look whether the wall clock is right."""
        state = self.clock_state()
        if state == "ntp":
            return healthy("the clock is synchronised by NTP")
        if state is None:
            return unknown("this machine does not tell whether its clock is right")
        return warning(
            "the clock is not synchronised",
            "recordings are dated by the API's time instead; `sudo timedatectl set-ntp true` where NTP may be used",
        )

    def status_led(self, session: Session) -> Finding:
        """Look whether the LED can be driven, without driving it."""
        settings = session.loaded.config.led
        if settings.driver == "none":
            return skipped("no LED is configured")
        if settings.driver == "gpio":
            return _gpio_light(settings)
        root = self.sysfs / "class/leds"
        folder = root / settings.name
        if not folder.is_dir():
            try:
                led_driver_for(settings, root)
            except AgentError as error:
                return warning(error.message, error.hint)
        if not all(
            os.access(folder / name, os.W_OK, effective_ids=True) for name in ("brightness", "trigger")
        ):
            return warning(
                f"the LED {settings.name} may not be driven",
                f"give the service's group the right to it: the udev rule of the installation does; {settle()}",
            )
        return healthy(f"the LED {settings.name} is there")

    def service(self, _session: Session) -> Finding:
        """Ask systemd about both services; the first trouble counts."""
        found = [(name, self._facts(name)) for name in SERVICES]
        installed = [(name, facts) for name, facts in found if facts.get("LoadState") == "loaded"]
        if not any(facts for _, facts in found):
            return skipped("systemd does not answer here")
        if not installed:
            return skipped("the service is not installed")
        for name, facts in installed:
            if facts.get("ActiveState") == ENDED_BADLY:
                return critical(f"{name}.service has failed", f"see {journal(name)}")
        for name, facts in installed:
            if facts.get("ActiveState") != "active":
                return warning(
                    f"{name}.service is {facts.get('ActiveState')}", f"`sudo systemctl start {name}`"
                )
        for name, facts in installed:
            restarts = facts.get("NRestarts", "0")
            if restarts != "0":
                times = "once" if restarts == "1" else f"{restarts} times"
                return warning(f"{name}.service was restarted {times}", f"see {journal(name)}")
        return healthy("the services are running")

    def access(self, session: Session) -> Finding:
        """Look whether the services may write where the settings want it: what they may is fixed when installed."""
        loaded = session.loaded
        if loaded.file != SYSTEM_FILE:
            return skipped("the settings are not those of a service")
        state, metrics = session.state.path, loaded.config.metrics.file
        wanted = [(name, state) for name in SERVICES]
        wanted += [(SERVICES[1], Path(metrics).parent)] if metrics else []
        for name, folder in wanted:
            facts = self._facts(name)
            if facts.get("LoadState") != "loaded" or "ReadWritePaths" not in facts:
                continue
            opened = [Path(word.lstrip("-+")) for word in shlex.split(facts["ReadWritePaths"])]
            if not any(folder.is_relative_to(each) for each in (SERVICE_STATE, *opened)):
                return critical(f"{name}.service may not write to {folder}", settle())
        return healthy("the services may write where the settings say")

    def _facts(self, name: str) -> dict[str, str]:
        try:
            answer = subprocess.run(
                [self.systemctl, "show", name, "--property=LoadState,ActiveState,NRestarts,ReadWritePaths"],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout
        except (OSError, subprocess.SubprocessError):
            return {}
        return dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)

    def temperature(self, _session: Session) -> Finding:
        """Look whether the processor is too hot, or the power too weak."""
        flags = self._throttled()
        try:
            degrees = int((self.sysfs / "class/thermal/thermal_zone0/temp").read_text()) / 1000
        except (OSError, ValueError):
            if flags is None:
                return unknown("this machine does not tell its temperature")
            degrees = 0.0
        flags = flags or 0
        sentence = f"the processor has {degrees:.0f} °C" if degrees else "the processor runs"
        if flags & WEAK_NOW:
            return warning(f"{sentence}, and the power is too weak", POWER_HINT)
        if flags & SLOW_NOW or degrees > HOT_DEGREES:
            return warning(f"{sentence}, and is slowed down", "give it air or a heat sink")
        if flags & WAS_WEAK:
            return warning(f"{sentence}, and the power was too weak since the machine started", POWER_HINT)
        return healthy(sentence)

    def _throttled(self) -> int | None:
        try:
            return int((self.sysfs / "devices/platform/soc/soc:firmware/get_throttled").read_text(), 16)
        except (OSError, ValueError):
            return None


def _gpio_light(settings: LedConfig) -> Finding:
    if not is_there("gpiozero"):
        return skipped("not looked at: its library comes first, see extras")
    return unknown(f"an LED on the pins {list(settings.pins)}: {typed('led identify')} shows it")
