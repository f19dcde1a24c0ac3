"""The capture control of a card at 0, switched off, too low, too high, and a broken cable: told apart, and set."""

import re
import time
from typing import Any, NamedTuple

from vm import settings
from vm.lab import CARD, Lab

QUALITY_SECONDS = 160
"""From a start of the recorder: a minute of sound, what it takes to begin, and once more where the host was busy."""
REASON_SECONDS = 45
"""The same for a control that is switched off: it is seen when the card is opened."""
PERCENT, DECIBELS = 70, -3.0
"""What the settings ask for, and what that is on the scale of the device."""
CODE_DBFS = -11.8
"""How loud the code is at 0 dB."""
AROUND_DECIBELS = 2.0
AGAIN_SECONDS = 30.0
STATUS = "cat /run/recorder-agent/status.json"
COMPLAINTS = "microphone_silent|microphone_quiet|microphone_clipping|capture_control_closed"


class Case(NamedTuple):
    """What is wrong, and what must be said of it: patterns of the reason and of the doctor's hint."""

    name: str
    mixer: str
    """What amixer is told."""
    shown: tuple[int, bool]
    """Percent and switch, as ``devices`` has them."""
    quality: str
    reason: str
    hint: str
    lines: tuple[str, ...]
    """The actions of the lines in the log, each once."""
    silent: bool = False
    """The microphone itself gives zeros."""


CASES = (
    Case("off", "75% nocap", (75, False), "silent", "control Mic is switched off$", "amixer .*sset Mic 60% cap",
         ("capture_control_closed", "microphone_silent")),
    Case("at_zero", "0% cap", (0, True), "quiet", "control Mic is at 0 %$", "amixer .*sset Mic 60% cap",
         ("capture_control_closed", "microphone_quiet")),
    Case("at_12_percent", "12% cap", (12, True), "quiet", "too quiet, with .* Mic at 1[23] %$", "raise its gain",
         ("microphone_quiet",)),
    Case("too_high", "100% cap", (100, True), "clipping", "too loud, with .* Mic at 100 %$", "lower its gain",
         ("microphone_clipping",)),
    Case("cable", "75% cap", (75, True), "silent", "Mic at 7[45] %: .*its cable is broken$", "change its cable",
         ("microphone_silent",), silent=True),
)  # fmt: skip


def run(lab: Lab) -> None:
    """Run all of it; the settings leave the control alone first, and set it afterwards."""
    lab.microphones[1].command("pauses")
    lab.power_on()
    lab.machine.wait_ready()
    lab.wait_stream(5)
    for case in CASES:
        judge(lab, case)
    set_at_each_opening(lab)
    lab.machine.power_off()


def judge(lab: Lab, case: Case) -> None:
    """Turn the control, start the recorder, and see what status, log, doctor and devices say."""
    machine, findings = lab.machine, lab.findings
    lab.microphones[1].command("silence" if case.silent else "sound")
    machine.run(f"systemctl stop recorder-agent.service; amixer -q -c {CARD} sset Mic {case.mixer}")
    since = machine.run("date +%s.%N").output.strip()
    began = time.monotonic()
    machine.run("systemctl start recorder-agent.service")
    if case.name == "off":
        reason_at = machine.wait_for(lambda: bool(_microphone(lab)["reason"]), REASON_SECONDS, 1)
        figure = "never" if reason_at is None else f"{time.monotonic() - began:.0f} s after the start"
        findings.check("off_told_at_opening", figure, f"{REASON_SECONDS} s", good=reason_at is not None)
    machine.wait_for(lambda: _is_judged(lab), QUALITY_SECONDS, 2)
    taken = time.monotonic() - began
    now = _microphone(lab)
    quality, reason = now["quality"], now["reason"] or ""
    findings.check(f"{case.name}_status", f"{quality}, {reason or 'no reason'}, {taken:.0f} s", case.quality,
                   good=quality == case.quality and re.search(case.reason, reason) is not None)  # fmt: skip
    lines = logged(machine.run(f"journalctl -u recorder-agent.service -o cat --since @{since}").output)
    findings.check(f"{case.name}_log", ", ".join(lines) or "nothing", ", ".join(case.lines),
                   good=sorted(lines) == sorted(case.lines))  # fmt: skip
    hints = [row["hint"] for row in machine.json("recorder-agent doctor --json", 180)
             if row["check"] in {"microphone", "capture volume"} and row["state"] != "healthy"]  # fmt: skip
    hint = next((each for each in hints if re.search(case.hint, each)), "")
    findings.check(f"{case.name}_doctor", hint or f"none of {hints}", case.hint, good=bool(hint))
    control = _control(lab)
    findings.check(f"{case.name}_devices", str(control), f"{case.shown[0]} %, {case.shown[1]}",
                   good=is_shown(control, case.shown))  # fmt: skip
    if case.name == "off" and hint:
        obeyed(lab, hint)


def obeyed(lab: Lab, hint: str) -> None:
    """Type what the doctor says, as it stands: sound comes."""
    command = hint.split("`")[1]
    answer = lab.machine.run(command)
    on, decibels = lab.microphones[1].control
    lab.findings.check("off_hint_typed", f"{command}: code {answer.code}, {decibels:.0f} dB, {'on' if on else 'off'}",
                       "on", good=answer.code == 0 and on and decibels > DECIBELS - 10)  # fmt: skip


def set_at_each_opening(lab: Lab) -> None:
    """Let the settings ask for a volume: at the start, and of a card that is plugged in closed."""
    machine, microphone = lab.machine, lab.microphones[1]
    microphone.command("sound")
    settings.write(machine, {"audio": {"capture_volume_percent": PERCENT}})
    machine.run(f"amixer -q -c {CARD} sset Mic 0% nocap")
    moment = time.time()
    machine.run("systemctl restart recorder-agent.service")
    judge_set(lab, "set_at_start", moment)
    microphone.command("closed")
    microphone.command("unplug")
    time.sleep(4)
    judge_set(lab, "set_when_plugged", microphone.command("plug"))


def judge_set(lab: Lab, name: str, moment: float) -> None:
    """See by the device, by ``devices`` and by the sound on the server that the control is set."""
    slot = lab.heard_after(moment, 1)
    figure = f"heard after {slot.at - moment:.1f} s" if slot else "not heard"
    lab.findings.check(f"{name}_heard", figure, f"{AGAIN_SECONDS:.0f} s",
                       good=slot is not None and slot.at - moment <= AGAIN_SECONDS)  # fmt: skip
    on, decibels = lab.microphones[1].control
    control = _control(lab)
    lab.findings.check(f"{name}_control", f"{decibels:+.1f} dB, {'on' if on else 'off'}; {control}",
                       f"{DECIBELS:+.1f} dB, on; {PERCENT} %",
                       good=on and abs(decibels - DECIBELS) <= 1 and is_shown(control, (PERCENT, True)))  # fmt: skip
    loud = [
        each.loudest_dbfs for each in lab.collection.recordings() if each.slots and each.slots[0].at > moment
    ]
    wanted = CODE_DBFS + DECIBELS
    lab.findings.check(f"{name}_level", ", ".join(f"{each:.1f} dBFS" for each in loud) or "nothing",
                       f"{wanted:.1f} ± {AROUND_DECIBELS:.0f} dBFS",
                       good=bool(loud) and all(abs(each - wanted) <= AROUND_DECIBELS for each in loud))  # fmt: skip


def logged(journal: str) -> list[str]:
    """Return the actions of all lines that say something is wrong with the sound."""
    return re.findall(rf"^(?:{COMPLAINTS})\b", journal, re.MULTILINE)


def is_shown(control: dict[str, Any] | None, wanted: tuple[int, bool]) -> bool:
    """Say whether ``devices`` shows a value, to the step of the device, and a switch."""
    return control is not None and abs(control["percent"] - wanted[0]) <= 1 and control["on"] is wanted[1]


def _microphone(lab: Lab) -> dict[str, Any]:
    try:
        found: dict[str, Any] = lab.machine.json(STATUS)["microphone"]
    except (ValueError, KeyError):
        return {"quality": None, "reason": None}
    return found


def _is_judged(lab: Lab) -> bool:
    now = _microphone(lab)
    return now["quality"] is not None and bool(now["reason"])


def _control(lab: Lab) -> dict[str, Any] | None:
    rows = lab.machine.json("recorder-agent devices --json", 180)
    found = [row["capture"] for row in rows if row["id"].startswith("usb-")]
    return found[0] if found else None
