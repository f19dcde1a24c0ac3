"""The unit file: what systemd thinks of it, and what a process under its rules can do."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from container import Container
from installed import Installation
from machine import DROP_INS, PROJECT, UNIT, Recorder

pytest_plugins = ["stage"]

MOST = 15
"""What the score of systemd-analyze security may be, in tenths."""
INSTALLED = f"/etc/systemd/system/{UNIT}"
PYTHON = "/opt/recorder-agent/current/bin/python"
PROBE = ("Type=oneshot", "ExecStart=", f"ExecStart={PYTHON} /srv/probe.py", "ExecStartPre=+/bin/mkdir -p /dev/snd",
         "ExecStopPost=", "Restart=no", "WatchdogSec=0", "StandardOutput=file:/run/probe.json")  # fmt: skip


@pytest.fixture(scope="module")
def recorder(new_recorder: Callable[[str], Recorder]) -> Recorder:
    """An installed machine with a light, a battery and a sound card that are made of files and of /dev/null."""
    recorder = new_recorder("unit")
    recorder.container.put(Path(__file__).with_name("probe.py"), "/srv/probe.py")
    recorder.container.shell(
        """
        mount -t tmpfs tmpfs /sys/class
        for light in ACT other; do
            mkdir -p /sys/devices /sys/class/leds/$light
            echo 0 >/sys/class/leds/$light/brightness; echo 'none [mmc0] timer' >/sys/class/leds/$light/trigger
            echo 255 >/sys/class/leds/$light/max_brightness
            echo 500 >/sys/class/leds/$light/delay_on; echo 500 >/sys/class/leds/$light/delay_off
        done
        mkdir -p /sys/class/power_supply/BAT0 /home/pi
        echo 73 >/sys/class/power_supply/BAT0/capacity
        touch /tmp/others /home/pi/diary
        mkdir -p /dev/snd; mknod -m 0660 /dev/snd/pcmC0D0c c 1 3; chgrp audio /dev/snd/pcmC0D0c
        """
    )
    return recorder


def give_lights(container: Container) -> None:
    """Do with the lights what udev does with the rule, there being no udev in a container."""
    rules = (PROJECT / "systemd/60-recorder-agent.rules").read_text("utf-8")
    commands = re.findall(r"RUN\+=\"/bin/sh -c '([^']+)'\"", rules)
    assert len(commands) == 1
    for light in ("ACT", "other"):
        container.run(
            "sh", "-c", commands[0].replace("/sys%p", f"/sys/class/leds/{light}").replace("$$", "$")
        )


def probed(recorder: Recorder, *changes: str) -> dict[str, Any]:
    """Return what a process can do under the unit, or under the unit with changes."""
    recorder.drop_in("probe", *PROBE, *changes)
    try:
        recorder.systemctl("start")
        text = recorder.container.run("cat", "/run/probe.json").stdout
        recorder.container.run("rm", "/run/probe.json")
        return dict(json.loads(text))
    finally:
        recorder.drop_in("probe")


def test_systemd_has_nothing_to_say_about_it(recorder: Recorder) -> None:
    """``systemd-analyze verify`` is silent; it is not when a word is wrong."""
    container = recorder.container
    verdict = container.run("systemd-analyze", "verify", INSTALLED)
    assert verdict.stdout + verdict.stderr == ""
    wrong = container.path(INSTALLED).read_text("utf-8").replace("RestartSec=", "RestartSecs=")
    container.write("/root/wrong/recorder-agent.service", wrong)
    assert (
        "RestartSecs"
        in container.run("systemd-analyze", "verify", "/root/wrong/recorder-agent.service").stderr
    )


def score(container: Container, file: str) -> tuple[float, int]:
    """Return the score of a unit file, and the exit code with our limit."""
    told = container.run(
        "systemd-analyze",
        "security",
        "--offline=true",
        "--no-pager",
        f"--threshold={MOST}",
        file,
        check=False,
    )
    found = re.search(r"Overall exposure level.*: (\d+\.\d)", told.stdout)
    assert found, told
    return float(found[1]), told.returncode


def test_it_is_locked_down(recorder: Recorder) -> None:
    """The score is at most 1.5; without its rules it would be far above, and with any one opened a little above."""
    container = recorder.container
    unit = container.path(INSTALLED).read_text("utf-8")
    whole = score(container, INSTALLED)
    bare = re.sub(
        r"(?m)^(Protect|Private|Restrict|SystemCall|NoNew|Capability|Lock|Memory|Remove|Key).*$", "", unit
    )
    container.write("/root/bare/recorder-agent.service", bare)
    container.write("/root/open/recorder-agent.service", unit.replace("PrivateUsers=yes", ""))
    without, opened = (score(container, f"/root/{name}/recorder-agent.service") for name in ("bare", "open"))
    print(
        f"\nsystemd-analyze security: {whole[0]}; without PrivateUsers {opened[0]}; without any rule {without[0]}"
    )
    assert whole[0] * 10 <= MOST
    assert whole[1] == 0
    assert without[0] > 7
    assert without[1] != 0
    assert opened[1] != 0


def test_what_it_needs_works_and_nothing_else(recorder: Recorder) -> None:
    """What it is made for works, down to asking for the clock; what belongs to others is out of reach."""
    give_lights(recorder.container)
    can = probed(recorder)
    print(f"\n{json.dumps(can, indent=1)}")
    refused = {name for name, answer in can.items() if str(answer).startswith("refused")}
    assert refused == {
        "other device", "other light", "/etc", "/root", "packets", "clock", "kernel setting", "code at run time",
        "/home",
    }  # fmt: skip
    assert can["battery"] == "73"
    assert can["boot id"] == 36
    assert can["adjtimex"] in {True, False}
    assert can["socket for the group"] == "660 recorder-agent"
    assert can["temporary files of others"] is False
    assert can["other processes"] == 0
    assert can["capabilities"] == 0


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ("ProtectClock=yes", "adjtimex"),
        ("ReadWritePaths=", "light"),
        ("BindPaths=", "microphone"),
        ("ProcSubset=pid", "boot id"),
        ("SystemCallFilter=~@chown", "socket for the group"),
        ("RestrictAddressFamilies=~AF_NETLINK", "netlink"),
    ],
)
def test_each_opening_is_needed(recorder: Recorder, change: str, lost: str) -> None:
    """Closed once more, what it was opened for fails."""
    can = probed(recorder, change)[lost]
    assert can is None or str(can).startswith("refused"), can


def test_without_the_udev_rule_the_light_is_refused(recorder: Recorder) -> None:
    """The group has no right to it by itself."""
    recorder.container.shell(
        "chown root:root /sys/class/leds/ACT/brightness; chmod 0644 /sys/class/leds/ACT/brightness"
    )
    assert str(probed(recorder)["light"]).startswith("refused")


@pytest.fixture
def lit(recorder: Recorder) -> Iterator[Recorder]:
    """The recorder itself, with its light."""
    give_lights(recorder.container)
    recorder.configure(led='driver = "sysfs"')
    recorder.systemctl("start")
    recorder.wait_state("recording")
    yield recorder
    recorder.systemctl("stop")


def light(recorder: Recorder, file: str) -> str:
    """Return what stands in a file of the light."""
    return recorder.container.run("cat", f"/sys/class/leds/ACT/{file}").stdout.strip()


def test_the_light_shows_death_and_is_dark_on_stop(lit: Recorder) -> None:
    """While it lives the process drives it; killed, the kernel blinks the fault; started again, it takes it back."""
    container = lit.container
    assert light(lit, "trigger") == "none"
    container.wait_for(lambda: light(lit, "brightness") == "255", 10, "light")
    lit.kill("KILL")
    container.wait_for(lambda: light(lit, "trigger") == "timer", 10, "fault pattern")
    assert (light(lit, "delay_on"), light(lit, "delay_off")) == ("100", "100")
    container.wait_for(lambda: light(lit, "trigger") == "none", 20, "light of the process")
    lit.wait_state("recording")
    lit.systemctl("stop")
    assert (light(lit, "trigger"), light(lit, "brightness")) == ("none", "0")


def test_the_drop_in_for_pins_is_right(recorder: Recorder, installation: Installation) -> None:
    """With it the unit is still silent under verify, and the probe still runs, pins or none."""
    assert installation.layer.exists()
    recorder.container.put(PROJECT / "systemd/gpio.conf", f"{DROP_INS}/gpio.conf")
    try:
        verdict = recorder.container.run("systemd-analyze", "verify", INSTALLED)
        assert verdict.stdout + verdict.stderr == ""
        recorder.container.shell("mknod -m 0660 /dev/gpiochip0 c 1 3; chgrp recorder-agent /dev/gpiochip0")
        assert probed(recorder)["boot id"] == 36
        assert "gpiochip0" in recorder.container.run("systemctl", "show", UNIT, "--property=BindPaths").stdout
    finally:
        recorder.drop_in("gpio")
