"""The units: what systemd thinks of them, and what a process under the rules of each can do."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from container import Container
from installed import Installation
from machine import DELIVERY, PROJECT, STATE, TARGET, UNIT, UNITS, Recorder

pytest_plugins = ["stage"]

MOST = {UNIT: 8, DELIVERY: 14}
"""What the score of systemd-analyze security may be, in tenths."""
PYTHON = "/opt/recorder-agent/current/bin/python"
PROBE = ("Type=oneshot", "ExecStart=", "ExecStopPost=", "Restart=no", "WatchdogSec=0",
         "StandardOutput=file:/run/probe.json")  # fmt: skip
OTHERS = {"other device", "other LED", "/etc", "/root", "/home", "packets", "clock", "kernel setting",
          "code at run time"}  # fmt: skip
"""What is nobody's business."""
HIDDEN = {"internet", "internet 6", "token", "link to the token", "folder of the token", "credentials"}
"""What the recorder has no part in."""


@pytest.fixture(scope="module")
def recorder(new_recorder: Callable[[str], Recorder]) -> Recorder:
    """An installed machine with an LED, a battery and a sound card that are made of files and of /dev/null."""
    recorder = new_recorder("units")
    recorder.container.put(Path(__file__).with_name("probe.py"), "/srv/probe.py")
    recorder.container.shell(
        """
        mount -t tmpfs tmpfs /sys/class
        for led in ACT other; do
            mkdir -p /sys/devices /sys/class/leds/$led
            echo 0 >/sys/class/leds/$led/brightness; echo 'none [mmc0] timer' >/sys/class/leds/$led/trigger
            echo 255 >/sys/class/leds/$led/max_brightness
            echo 500 >/sys/class/leds/$led/delay_on; echo 500 >/sys/class/leds/$led/delay_off
        done
        mkdir -p /sys/class/power_supply/BAT0 /home/pi
        echo 73 >/sys/class/power_supply/BAT0/capacity
        touch /tmp/others /home/pi/diary
        mkdir -p /dev/snd; mknod -m 0660 /dev/snd/pcmC0D0c c 1 3; chgrp audio /dev/snd/pcmC0D0c
        """
    )
    return recorder


def give_leds(container: Container) -> None:
    """Do with the lights what udev does with the rule, there being no udev in a container."""
    rules = (PROJECT / "systemd/60-recorder-agent.rules").read_text("utf-8")
    commands = re.findall(r"RUN\+=\"/bin/sh -c '([^']+)'\"", rules)
    assert len(commands) == 1
    for status_led in ("ACT", "other"):
        container.run(
            "sh", "-c", commands[0].replace("/sys%p", f"/sys/class/leds/{status_led}").replace("$$", "$")
        )


def probed(recorder: Recorder, *changes: str, unit: str = UNIT, state: str = "") -> dict[str, Any]:
    """Return what a process can do under a unit, or under the unit with changes."""
    recorder.drop_in("probe", *PROBE, f"ExecStart={PYTHON} /srv/probe.py {state}", *changes, unit=unit)
    try:
        recorder.systemctl("start", unit)
        text = recorder.container.run("cat", "/run/probe.json").stdout
        recorder.container.run("rm", "/run/probe.json")
        return dict(json.loads(text))
    finally:
        recorder.drop_in("probe", unit=unit)


def refused(can: dict[str, Any]) -> set[str]:
    """Return what could not be done."""
    return {name for name, answer in can.items() if str(answer).startswith("refused")}


def test_systemd_has_nothing_to_say_about_them(recorder: Recorder) -> None:
    """``systemd-analyze verify`` is silent; it is not when a word is wrong."""
    container = recorder.container
    verdict = container.run(
        "systemd-analyze", "verify", *(f"{UNITS}/{unit}" for unit in (UNIT, DELIVERY, TARGET))
    )
    assert verdict.stdout + verdict.stderr == ""
    wrong = container.path(f"{UNITS}/{UNIT}").read_text("utf-8").replace("RestartSec=", "RestartSecs=")
    container.write(f"/root/wrong/{UNIT}", wrong)
    assert "RestartSecs" in container.run("systemd-analyze", "verify", f"/root/wrong/{UNIT}").stderr


def test_they_belong_to_a_target_and_not_to_each_other(recorder: Recorder) -> None:
    """The target is started at the boot and takes both along; no other dependency binds one to the other."""
    show = recorder.container.show
    binds = ("PartOf", "Requires", "BindsTo", "Wants", "Requisite", "ConsistsOf", "WantedBy", "Conflicts")
    target = show(TARGET, "Wants", "WantedBy", "ConsistsOf", "UnitFileState")
    assert set(target["Wants"].split()) == set(target["ConsistsOf"].split()) == {UNIT, DELIVERY}
    assert (target["WantedBy"], target["UnitFileState"]) == ("multi-user.target", "enabled")
    for unit, other in ((UNIT, DELIVERY), (DELIVERY, UNIT)):
        facts = show(unit, *binds, "LimitCORE")
        assert facts["PartOf"] == facts["WantedBy"] == TARGET
        assert all(other not in facts[name].split() for name in binds)
        assert "\nWatchdogSec=30\n" in recorder.container.path(f"{UNITS}/{unit}").read_text("utf-8")
        assert facts["LimitCORE"] == "0"
    assert show(UNIT, "RuntimeDirectory") != show(DELIVERY, "RuntimeDirectory")
    limits = show(DELIVERY, "OOMScoreAdjust", "Nice", "CPUWeight", "MemoryMax", "LimitDATA")
    assert (limits["OOMScoreAdjust"], limits["Nice"]) == ("500", "5")
    assert int(limits["CPUWeight"]) < 100 < int(show(UNIT, "CPUWeight")["CPUWeight"])
    assert 64 << 20 < int(limits["MemoryMax"]) <= 256 << 20
    assert 64 << 20 < int(limits["LimitDATA"]) <= 512 << 20


def score(container: Container, file: str, most: int) -> tuple[float, int]:
    """Return the score of a unit file, and the exit code with a limit in tenths."""
    told = container.run(
        "systemd-analyze",
        "security",
        "--offline=true",
        "--no-pager",
        f"--threshold={most}",
        file,
        check=False,
    )
    found = re.search(r"Overall exposure level.*: (\d+\.\d)", told.stdout)
    assert found, told
    return float(found[1]), told.returncode


@pytest.mark.parametrize("unit", [UNIT, DELIVERY])
def test_they_are_locked_down(recorder: Recorder, unit: str) -> None:
    """The scores are at most 0.8 and 1.4; without rules far above, and with one opened a little above."""
    container = recorder.container
    text, most = container.path(f"{UNITS}/{unit}").read_text("utf-8"), MOST[unit]
    whole = score(container, f"{UNITS}/{unit}", most)
    bare = re.sub(
        r"(?m)^(Protect|Private|Restrict|SystemCall|NoNew|Capability|Lock|Memory|Remove|Key|IP|Device).*$",
        "",
        text,
    )
    container.write(f"/root/bare/{unit}", bare)
    container.write(
        f"/root/open/{unit}", text.replace("PrivateUsers=yes", "").replace("ProtectProc=invisible", "")
    )
    without, opened = (score(container, f"/root/{name}/{unit}", most) for name in ("bare", "open"))
    print(f"\nsystemd-analyze security {unit}: {whole[0]}; opened {opened[0]}; without any rule {without[0]}")
    assert whole[0] * 10 <= most
    assert whole[1] == 0
    assert without[0] > 7
    assert without[1] != 0
    assert opened[1] != 0


def test_what_the_recorder_needs_works_and_nothing_else(recorder: Recorder) -> None:
    """Down to asking for the clock; no network, nothing of the token, and what belongs to others is out of reach."""
    give_leds(recorder.container)
    can = probed(recorder)
    print(f"\n{json.dumps(can, indent=1)}")
    assert refused(can) - {"link to the token"} == OTHERS | HIDDEN - {"link to the token"}
    assert can["interfaces"] == ["lo"]
    assert can["battery"] == "73"
    assert can["boot id"] == 36
    assert can["adjtimex"] in {True, False}
    assert can["socket for the group"] == "660 recorder-agent"
    assert can["temporary files of others"] is False
    assert can["other processes"] == 0
    assert can["capabilities"] == 0


def test_what_delivery_needs_works_and_nothing_else(recorder: Recorder) -> None:
    """The network and the token are its own; it opens no sound card, no LED and no other device."""
    give_leds(recorder.container)
    can = probed(recorder, unit=DELIVERY)
    print(f"\n{json.dumps(can, indent=1)}")
    assert refused(can) - {"link to the token", "credentials"} == OTHERS | {"microphone", "LED"}
    assert can["token"].startswith("dtok_")
    assert can["adjtimex"] in {True, False}
    assert can["socket for the group"] == "660 recorder-agent"
    assert can["temporary files of others"] is False
    assert can["other processes"] == 0
    assert can["capabilities"] == 0


@pytest.mark.parametrize(
    ("unit", "change", "lost"),
    [
        (UNIT, "ProtectClock=yes", "adjtimex"),
        (UNIT, "ReadWritePaths=", "LED"),
        (UNIT, "BindPaths=", "microphone"),
        (UNIT, "ProcSubset=pid", "boot id"),
        (UNIT, "SystemCallFilter=~@chown", "socket for the group"),
        (DELIVERY, "RestrictAddressFamilies=~AF_INET", "internet"),
    ],
)
def test_each_opening_is_needed(recorder: Recorder, unit: str, change: str, lost: str) -> None:
    """Closed once more, what it was opened for fails."""
    can = probed(recorder, change, unit=unit)[lost]
    assert can is None or str(can).startswith("refused"), can


@pytest.mark.parametrize(
    ("unit", "change", "won"),
    [
        (UNIT, "InaccessiblePaths=", "token"),
        (UNIT, "RestrictAddressFamilies=AF_INET", "internet"),
        (DELIVERY, "BindPaths=/dev/snd\nDeviceAllow=char-alsa rw", "microphone"),
    ],
)
def test_each_wall_is_needed(recorder: Recorder, unit: str, change: str, won: str) -> None:
    """Without it, what it keeps away is within reach: the probe can tell."""
    assert won not in refused(probed(recorder, change, unit=unit))


def test_the_token_is_hidden_in_another_place_too(recorder: Recorder) -> None:
    """In a folder of the owner's choice, and where its folder is made by the start alone."""
    place = "/srv/disk with %/recordings"
    settings = f'[storage]\ndirectory = "{place}"\n'
    container = recorder.container
    container.write("/root/other.toml", settings)
    container.shell(f"mkdir -p '{place}' && chown recorder-agent:recorder-agent '{place}'")
    script = "/opt/recorder-agent/current/settings.py"
    lines = container.run("python3", script, "service", "/root/other.toml", "recorder").stdout.splitlines()
    escaped = f'"{place.replace("%", "%%")}"'
    can = probed(recorder, *lines, state=escaped)
    assert {"token", "folder of the token"} <= refused(can)
    assert can["state"] is True
    container.shell(
        f"install -o recorder-agent -m 0600 {STATE}/token/device-token '{place}/token/device-token'"
    )
    assert "token" in refused(probed(recorder, *lines, state=escaped))
    without = [line for line in lines if not line.startswith("InaccessiblePaths")]
    assert "token" not in refused(probed(recorder, *without, state=escaped))


def test_without_the_udev_rule_the_light_is_refused(recorder: Recorder) -> None:
    """The group has no right to it by itself."""
    recorder.container.shell(
        "chown root:root /sys/class/leds/ACT/brightness; chmod 0644 /sys/class/leds/ACT/brightness"
    )
    assert str(probed(recorder)["LED"]).startswith("refused")


@pytest.fixture
def lit(recorder: Recorder) -> Iterator[Recorder]:
    """The recorder itself, with its LED."""
    give_leds(recorder.container)
    recorder.configure(led='driver = "sysfs"')
    recorder.systemctl("start")
    recorder.wait_state("recording")
    yield recorder
    recorder.systemctl("stop")


def led(recorder: Recorder, file: str) -> str:
    """Return what stands in a file of the LED."""
    return recorder.container.run("cat", f"/sys/class/leds/ACT/{file}").stdout.strip()


def test_the_light_shows_death_and_is_dark_on_stop(lit: Recorder) -> None:
    """While it lives the process drives it; killed, the kernel blinks the fault; started again, it takes it back."""
    container = lit.container
    assert led(lit, "trigger") == "none"
    container.wait_for(lambda: led(lit, "brightness") == "255", 10, "light")
    lit.kill("KILL")
    container.wait_for(lambda: led(lit, "trigger") == "timer", 10, "fault pattern")
    assert (led(lit, "delay_on"), led(lit, "delay_off")) == ("100", "100")
    container.wait_for(lambda: led(lit, "trigger") == "none", 20, "light of the process")
    lit.wait_state("recording")
    lit.systemctl("stop")
    assert (led(lit, "trigger"), led(lit, "brightness")) == ("none", "0")


def test_the_drop_in_for_pins_is_right(recorder: Recorder, installation: Installation) -> None:
    """With it the unit is still silent under verify, and the probe still runs, pins or none."""
    assert installation.layer.exists()
    recorder.container.put(PROJECT / "systemd/gpio.conf", f"{UNITS}/{UNIT}.d/gpio.conf")
    try:
        verdict = recorder.container.run("systemd-analyze", "verify", f"{UNITS}/{UNIT}")
        assert verdict.stdout + verdict.stderr == ""
        recorder.container.shell("mknod -m 0660 /dev/gpiochip0 c 1 3; chgrp recorder-agent /dev/gpiochip0")
        assert probed(recorder)["boot id"] == 36
        assert "gpiochip0" in recorder.container.run("systemctl", "show", UNIT, "--property=BindPaths").stdout
    finally:
        recorder.drop_in("gpio")
