"""Checks of the machine itself: clock, light, service, temperature and power."""

import subprocess
from pathlib import Path

from agent.context import Session
from agent.doctor.examination import Finding, critical, healthy, skipped, unknown, warning
from agent.errors import AgentError
from agent.host.clocksync import clock_state
from agent.status.lamp import lamp_for

THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")
THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
HOT_DEGREES = 75.0
UNDER_VOLTAGE, THROTTLED_NOW = 0x1, 0x4
ENDED_BADLY = "failed"


def clock(_session: Session) -> Finding:
    """Look whether the wall clock is right."""
    state = clock_state()
    if state == "ntp":
        return healthy("the clock is synchronised by NTP")
    if state is None:
        return unknown("this machine does not tell whether its clock is right")
    return warning(
        "the clock is not synchronised",
        "recordings are dated by the API's time instead; allow NTP where you can",
    )


def light(session: Session) -> Finding:
    """Look whether the light can be driven, without driving it."""
    settings = session.loaded.config.led
    if settings.driver == "none":
        return skipped("no light is configured")
    if settings.driver == "gpio":
        return unknown(f"a light on the pins {list(settings.pins)}: `recorder-agent led identify` shows it")
    folder = Path("/sys/class/leds") / settings.name
    if not folder.is_dir():
        try:
            lamp_for(settings)
        except AgentError as error:
            return warning(*str(error).split("; ", 1))
    return healthy(f"the light {settings.name} is there")


def service(_session: Session) -> Finding:
    """Ask systemd about the service."""
    try:
        answer = subprocess.run(
            ["/usr/bin/systemctl", "show", "recorder-agent", "--property=LoadState,ActiveState,NRestarts"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return skipped("systemd does not answer here")
    facts = dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)
    if facts.get("LoadState") != "loaded":
        return skipped("the service is not installed")
    if facts.get("ActiveState") == ENDED_BADLY:
        return critical("the service has failed", "see `journalctl -u recorder-agent`")
    if facts.get("ActiveState") != "active":
        return warning(f"the service is {facts.get('ActiveState')}", "`sudo systemctl start recorder-agent`")
    restarts = facts.get("NRestarts", "0")
    if restarts != "0":
        return warning(f"the service was restarted {restarts} times", "see `journalctl -u recorder-agent`")
    return healthy("the service is running")


def temperature(_session: Session) -> Finding:
    """Look whether the processor is too hot, or the power too weak."""
    try:
        degrees = int(THERMAL.read_text()) / 1000
    except (OSError, ValueError):
        return unknown("this machine does not tell its temperature")
    try:
        flags = int(THROTTLED.read_text(), 16)
    except (OSError, ValueError):
        flags = 0
    sentence = f"the processor has {degrees:.0f} °C"
    if flags & UNDER_VOLTAGE:
        return warning(f"{sentence}, and the power is too weak", "use a better power supply and cable")
    if flags & THROTTLED_NOW or degrees > HOT_DEGREES:
        return warning(f"{sentence}, and is slowed down", "give it air or a heat sink")
    return healthy(sentence)
