"""The short form: three cuts, the LED, one unplug, one reboot, and what it costs."""

from vm import board, cards, cuts, light
from vm.lab import Lab

CUTS = 3


def run(lab: Lab) -> None:
    """Run it all on one machine, over one disk."""
    findings = lab.findings
    findings.begin("cuts")
    cuts.run(lab, CUTS, blind=False)
    findings.begin("board")
    board.measure(lab)
    light.set_up(lab)
    board.judge_led(lab)
    findings.begin("cards")
    cards.unplug(lab, with_led=True)
    findings.begin("board")
    board.reboot(lab)
    board.orderly_power_off(lab)
