"""Suspend to memory: what was not heard is in the gap log, and it records again."""

import time

from vm.lab import Lab, unix

ASLEEP_SECONDS = 15
AGAIN_SECONDS = 60


def run(lab: Lab) -> None:
    """Suspend, wake, judge."""
    findings = lab.findings
    if "mem" not in lab.machine.run("cat /sys/power/state").output.split():
        findings.skip("suspend", "this kernel offers no suspend to memory on the emulated board")
        return
    slept = time.time()
    lab.machine.run("(sleep 1; echo mem >/sys/power/state) >/dev/null 2>&1 </dev/null &")
    time.sleep(ASLEEP_SECONDS)
    state = lab.machine.monitor("query-status").get("status")
    if state != "suspended":
        findings.skip("suspend", f"the machine did not go to sleep: QEMU says {state}")
        return
    woke = time.time()
    lab.machine.monitor("system_wakeup")
    slot = lab.heard_after(woke, 1)
    figure = f"{slot.at - woke:.1f} s" if slot else "not heard"
    findings.check("recording_after_suspend", figure, f"{AGAIN_SECONDS} s",
                   good=slot is not None and slot.at - woke <= AGAIN_SECONDS)  # fmt: skip
    if slot:
        silent = slot.at - slept
        noted = sum(gap["seconds"] or 0 for gap in lab.gaps()
                    if gap["from"] and slept - 5 <= unix(gap["from"]) <= slot.at + 5)  # fmt: skip
        findings.check("suspend_in_gap_log", f"{noted:.1f} s of about {silent:.1f} s", "within 4 s",
                       good=abs(noted - silent) <= 4)  # fmt: skip
