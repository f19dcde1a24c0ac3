"""Cards on a real kernel: USB microphones unplugged, swapped, frozen, taken by others, switched off; HDA."""

import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vm import light, line_in, settings
from vm.lab import CARD, Lab

if TYPE_CHECKING:
    from vm.machine import Answer

Act = Callable[[], float]
"""Does something to a card, and returns the host time of that."""
NOTICED_SECONDS = 15.0
AGAIN_SECONDS = 30.0
START_SECONDS = 45.0
"""The same behind a start of the service."""
ABSENT_SECONDS = 12.0
BUFFER_SECONDS = 0.9
PCMS = ("default", "sysdefault")
"""What ALSA's configuration names beside the cards."""


def run(lab: Lab) -> None:
    """Run all of it; microphone 1 is the one that the settings name."""
    machine = lab.machine
    lab.microphones[2].command("unplug")
    lab.power_on()
    machine.wait_ready()
    name_first(lab)
    buffered(lab, "usb")
    unplug(lab, with_led=False)
    swapped(lab)
    frozen(lab)
    switched_off(lab)
    busy(lab)
    hda(lab)
    machine.power_off()


def unplug(lab: Lab, *, with_led: bool) -> None:
    """Pull the microphone out, and plug it in again."""
    microphone = lab.microphones[1]
    lost(lab, "unplugged", lambda: microphone.command("unplug"))
    if with_led:
        shown = light.shown(lab, ABSENT_SECONDS)
        lab.findings.check("led_no_microphone", str(shown), "3 blinks, pause", good=shown.is_no_microphone)
    back(lab, "unplugged", lambda: microphone.command("plug"))


def name_first(lab: Lab) -> None:
    """Write the stable id of microphone 1 into the settings."""
    devices = lab.machine.json("recorder-agent devices --json", 180)
    ids = [row["id"] for row in devices if row["id"].startswith("usb-")]
    lab.findings.check("stable_id", ", ".join(ids) or "none", "one of USB", good=len(ids) == 1)
    if ids:
        choose(lab, ids[0])
        lab.wait_stream(5)


def swapped(lab: Lab) -> None:
    """Let the other microphone, which looks the same, take the place of card 1 first."""
    first, second = lab.microphones[1], lab.microphones[2]
    first.command("unplug")
    time.sleep(3)
    second.command("plug")
    time.sleep(6)
    wrong = second.streamed_seconds
    back(lab, "swapped", lambda: first.command("plug"))
    others = [slot for slot in lab.collection.slots() if slot.microphone != 1]
    lab.findings.check("right_card", f"{len(others)} slots of the other card, taken for {wrong:.1f} s", "0",
                       good=not others)  # fmt: skip


def frozen(lab: Lab) -> None:
    """Let the microphone stay plugged and send nothing."""
    microphone = lab.microphones[1]
    lost(lab, "frozen", lambda: microphone.command("freeze"))
    back(lab, "frozen", lambda: microphone.command("thaw"))


def switched_off(lab: Lab) -> None:
    """Take the microphone's right to the bus, as an owner may, and give it back."""
    device = "$(dirname $(grep -l 0d8c /sys/bus/usb/devices/*/idVendor | head -1))"

    def switch(value: int) -> float:
        lab.machine.run(f"echo {value} >{device}/authorized")
        return time.time()

    lab.microphones[2].command("unplug")
    time.sleep(2)
    lost(lab, "switched_off", lambda: switch(0))
    back(lab, "switched_off", lambda: switch(1))


def busy(lab: Lab) -> None:
    """Let another program hold the card when the recorder begins."""
    machine = lab.machine

    def take() -> float:
        machine.run(f"systemctl stop recorder-agent.service; "
                    f"setsid arecord -q -D hw:{CARD} -f S16_LE -r 48000 -c 1 /dev/null "
            ">/run/busy.log 2>&1 </dev/null & "
                    "sleep 3; systemctl start --no-block recorder-agent.service")  # fmt: skip
        return time.time()

    def release() -> float:
        machine.run("killall arecord || kill $(pidof arecord)")
        return time.time()

    lost(lab, "busy", take, START_SECONDS, "is busy")
    back(lab, "busy", release)


def hda(lab: Lab) -> None:
    """Record the HDA card, named by its stable id."""
    devices = lab.machine.json("recorder-agent devices --json", 180)
    ids = [row["id"] for row in devices if row["id"] not in PCMS and not row["id"].startswith("usb-")]
    lab.findings.check("hda_listed", ", ".join(ids) or "none", "one card", good=len(ids) == 1)
    if not ids:
        return
    choose(lab, ids[0])
    heard = lab.machine.wait_for(
        lambda: any(slot.microphone == line_in.NUMBER for slot in lab.collection.slots()), 150
    )
    figure = "not heard" if heard is None else f"heard on the server after {heard:.0f} s"
    lab.findings.check("hda_by_its_sound", figure, "heard", good=heard is not None)
    buffered(lab, "hda")


def buffered(lab: Lab, name: str) -> None:
    """See that ALSA keeps about a second of the card's sound while nobody takes it."""
    said = lab.machine.run("cat /proc/asound/card*/pcm*c/sub*/hw_params").output
    facts = dict(re.findall(r"^(rate|buffer_size): (\d+)", said, re.MULTILINE))
    seconds = int(facts.get("buffer_size", 0)) / int(facts.get("rate", 1))
    lab.findings.check(
        f"{name}_buffer", f"{seconds:.2f} s", f"{BUFFER_SECONDS} s", good=seconds >= BUFFER_SECONDS
    )


def choose(lab: Lab, device: str) -> None:
    """Write a device into the settings, and start the recorder with it."""
    settings.write(lab.machine, {"audio": {"input": device}})
    lab.machine.run("systemctl restart recorder-agent.service")


def lost(lab: Lab, name: str, act: Act, bound: float = NOTICED_SECONDS, says: str = "") -> None:
    """Take sound away, and see how soon the status says so; ``says`` is a pattern of its sentence."""
    answers: list[tuple[Answer, float]] = []

    def watch() -> None:
        answer = lab.machine.run(f"python3 /lab/wait_state.py no_microphone 60 '{says}'", 90)
        answers.append((answer, time.time()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    time.sleep(2)
    moment = act()
    watcher.join()
    answer, at = answers[0]
    figure = f"{at - moment:.1f} s" if answer.code == 0 else f"not within 60 s: {answer.output.strip()}"
    lab.findings.check(f"{name}_noticed", figure, f"{bound:.0f} s",
                       good=answer.code == 0 and at - moment <= bound)  # fmt: skip


def back(lab: Lab, name: str, act: Act) -> None:
    """Give sound back, and see by the sound on the server how soon it is recorded."""
    moment = act()
    slot = lab.heard_after(moment, 1)
    figure = f"{slot.at - moment:.1f} s" if slot else "not heard"
    lab.findings.check(f"{name}_recording_again", figure, f"{AGAIN_SECONDS:.0f} s",
                       good=slot is not None and slot.at - moment <= AGAIN_SECONDS)  # fmt: skip
